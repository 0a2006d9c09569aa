#!/usr/bin/env node
import { $ as loadRenderedFleet, $n as table, $t as FLEET_FILE, A as LOCK_FILE, An as renderStatus, At as LOCK_DIRECTORY, B as originalWorkflows, Bt as openPrivateKey, C as prepare, Ct as FleetStatus, D as build, Dt as runGit, E as nextManifest, Et as shellWord, F as copiedFiles, Fn as OUTCOMES, Ft as ignoreSftpError, G as readSecretFile, Gt as parallel, H as SECRETS_DIR, Ht as run, I as idOf, In as parseDuration, It as open$1, J as secretNames, Jt as loadFleet, K as secretFile, Kt as Repository, L as partOf, Lt as requireSigner, M as lockText, Mt as SftpSession, N as readLock, Nn as exitStatus, Nt as list$1, O as DEFAULT_TIMEOUT, Ot as packageRoot, P as UTILS, Pt as flight, Q as compareWith, Qn as size, Qt as splitPatterns, R as placeOf, Rt as storePath, S as failing, Sn as keysFromEnvironment, T as isSameRelease, Tn as changeLine, Tt as waysOut, U as checkSecretName, Un as renderDeploy, Ut as Publishers, V as workflowCopies, Vt as temporaryDirectory, W as isSecretName, Wn as baseText, Wt as _usingCtx, X as decrypt, Xn as count, Xt as parseShard, Y as MAX_SECRET, Yn as renderCheck, Yt as parseWave, Z as encrypt, Zn as painter, Zt as selectHosts, _ as signAndPublish, _t as makeDirectory, a as renderKeygen, an as readersIn, ar as inert, at as evaluateFleet, b as unchanged, bn as SIGNING_KEY, c as flakeUpdateMarkdown, cn as boolean, cr as FleetError, ct as withFlakeHosts, d as deliverStatus, dn as object, dr as UnavailableError, dt as Nix, en as checkFleetText, er as tally, et as openFleet, f as report, fn as string, fr as UnreachableError, ft as difference$1, g as lockFor, gt as makeCacheKey, h as deploy, hr as require_async_disposable_stack, ht as KEY_NAME, i as renderInit, in as canReceive, it as staleFiles, j as isNewer, jn as watchLines, jt as SILENCE$1, k as check, kn as renderHostStatus, kt as packageVersion, l as renderFlakeUpdate, ln as int, lr as HostError, lt as archive, m as flakeUpdate, mr as machineError, mt as parsePackages, n as renderHostEdit, nn as hostName, nr as describeError, nt as AGENT_FILE, o as renderPlan, on as readersOf, or as inertLine, ot as failureOf, p as plan, pn as require_dist, pt as packageChanges, q as secretHosts, qt as findFleet, r as renderHostList, rn as parseSshTarget, rr as failureLines, rt as renderedFiles, s as renderRender, sn as _enum, sr as BentoError, st as openMemory, t as renderFiles, tn as parseFleetFile, tr as warnings, tt as openFleetAt, u as onInterrupt, un as literal$1, ur as InterruptedError, ut as homeOf, v as openAll, vn as PUBLISHER_KEY, vt as replaceFiles, w as withArchive, wt as status, x as failed$2, xn as describeKey, xt as statusOptions, y as published, yn as SECRETS, yt as writeFileAtomically, z as presentAt, zt as needsOpenSsh } from "./shared3.js";
import { access, copyFile, cp, mkdir, readFile, readdir, realpath, rm, statfs, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { stripVTControlCharacters } from "node:util";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { addAbortSignal } from "node:stream";
import { EventEmitter } from "node:events";
import fs, { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import childProcess, { spawn } from "node:child_process";
import { StringDecoder } from "node:string_decoder";
import process$1 from "node:process";
require_async_disposable_stack();
/**
* CommanderError class
*/
var CommanderError = class extends Error {
	/**
	* Constructs the CommanderError class
	* @param {number} exitCode suggested exit code which could be used with process.exit
	* @param {string} code an id string representing the error
	* @param {string} message human-readable description of the error
	*/
	constructor(exitCode, code, message) {
		super(message);
		Error.captureStackTrace(this, this.constructor);
		this.name = this.constructor.name;
		this.code = code;
		this.exitCode = exitCode;
		this.nestedError = void 0;
	}
};
/**
* InvalidArgumentError class
*/
var InvalidArgumentError = class extends CommanderError {
	/**
	* Constructs the InvalidArgumentError class
	* @param {string} [message] explanation of why argument is invalid
	*/
	constructor(message) {
		super(1, "commander.invalidArgument", message);
		Error.captureStackTrace(this, this.constructor);
		this.name = this.constructor.name;
	}
};
// node_modules/commander/lib/argument.js
var Argument = class {
	/**
	* Initialize a new command argument with the given name and description.
	* The default is that the argument is required, and you can explicitly
	* indicate this with <> around the name. Put [] around the name for an optional argument.
	*
	* @param {string} name
	* @param {string} [description]
	*/
	constructor(name, description) {
		this.description = description || "";
		this.variadic = false;
		this.parseArg = void 0;
		this.defaultValue = void 0;
		this.defaultValueDescription = void 0;
		this.argChoices = void 0;
		switch (name[0]) {
			case "<":
				this.required = true;
				this._name = name.slice(1, -1);
				break;
			case "[":
				this.required = false;
				this._name = name.slice(1, -1);
				break;
			default:
				this.required = true;
				this._name = name;
		}
		if (this._name.endsWith("...")) {
			this.variadic = true;
			this._name = this._name.slice(0, -3);
		}
	}
	/**
	* Return argument name.
	*
	* @return {string}
	*/
	name() {
		return this._name;
	}
	/**
	* @package
	*/
	_collectValue(value, previous) {
		if (previous === this.defaultValue || !Array.isArray(previous)) return [value];
		previous.push(value);
		return previous;
	}
	/**
	* Set the default value, and optionally supply the description to be displayed in the help.
	*
	* @param {*} value
	* @param {string} [description]
	* @return {Argument}
	*/
	default(value, description) {
		this.defaultValue = value;
		this.defaultValueDescription = description;
		return this;
	}
	/**
	* Set the custom handler for processing CLI command arguments into argument values.
	*
	* @param {Function} [fn]
	* @return {Argument}
	*/
	argParser(fn) {
		this.parseArg = fn;
		return this;
	}
	/**
	* Only allow argument value to be one of choices.
	*
	* @param {string[]} values
	* @return {Argument}
	*/
	choices(values) {
		this.argChoices = values.slice();
		this.parseArg = (arg, previous) => {
			if (!this.argChoices.includes(arg)) throw new InvalidArgumentError(`Allowed choices are ${this.argChoices.join(", ")}.`);
			if (this.variadic) return this._collectValue(arg, previous);
			return arg;
		};
		return this;
	}
	/**
	* Make argument required.
	*
	* @returns {Argument}
	*/
	argRequired() {
		this.required = true;
		return this;
	}
	/**
	* Make argument optional.
	*
	* @returns {Argument}
	*/
	argOptional() {
		this.required = false;
		return this;
	}
};
/**
* Takes an argument and returns its human readable equivalent for help usage.
*
* @param {Argument} arg
* @return {string}
* @private
*/
function humanReadableArgName(arg) {
	const nameOutput = arg.name() + (arg.variadic === true ? "..." : "");
	return arg.required ? "<" + nameOutput + ">" : "[" + nameOutput + "]";
}
// node_modules/commander/lib/help.js
/**
* TypeScript import types for JSDoc, used by Visual Studio Code IntelliSense and `npm run typescript-checkJS`
* https://www.typescriptlang.org/docs/handbook/jsdoc-supported-types.html#import-types
* @typedef { import("./argument.js").Argument } Argument
* @typedef { import("./command.js").Command } Command
* @typedef { import("./option.js").Option } Option
*/
var Help = class {
	constructor() {
		this.helpWidth = void 0;
		this.minWidthToWrap = 40;
		this.sortSubcommands = false;
		this.sortOptions = false;
		this.showGlobalOptions = false;
	}
	/**
	* prepareContext is called by Commander after applying overrides from `Command.configureHelp()`
	* and just before calling `formatHelp()`.
	*
	* Commander just uses the helpWidth and the rest is provided for optional use by more complex subclasses.
	*
	* @param {{ error?: boolean, helpWidth?: number, outputHasColors?: boolean }} contextOptions
	*/
	prepareContext(contextOptions) {
		this.helpWidth = this.helpWidth ?? contextOptions.helpWidth ?? 80;
	}
	/**
	* Get an array of the visible subcommands. Includes a placeholder for the implicit help command, if there is one.
	*
	* @param {Command} cmd
	* @returns {Command[]}
	*/
	visibleCommands(cmd) {
		const visibleCommands = cmd.commands.filter((cmd) => !cmd._hidden);
		const helpCommand = cmd._getHelpCommand();
		if (helpCommand && !helpCommand._hidden) visibleCommands.push(helpCommand);
		if (this.sortSubcommands) visibleCommands.sort((a, b) => {
			return a.name().localeCompare(b.name());
		});
		return visibleCommands;
	}
	/**
	* Compare options for sort.
	*
	* @param {Option} a
	* @param {Option} b
	* @returns {number}
	*/
	compareOptions(a, b) {
		const getSortKey = (option) => {
			return option.short ? option.short.replace(/^-/, "") : option.long.replace(/^--/, "");
		};
		return getSortKey(a).localeCompare(getSortKey(b));
	}
	/**
	* Get an array of the visible options. Includes a placeholder for the implicit help option, if there is one.
	*
	* @param {Command} cmd
	* @returns {Option[]}
	*/
	visibleOptions(cmd) {
		const visibleOptions = cmd.options.filter((option) => !option.hidden);
		const helpOption = cmd._getHelpOption();
		if (helpOption && !helpOption.hidden) {
			const removeShort = helpOption.short && cmd._findOption(helpOption.short);
			const removeLong = helpOption.long && cmd._findOption(helpOption.long);
			if (!removeShort && !removeLong) visibleOptions.push(helpOption);
			else if (helpOption.long && !removeLong) visibleOptions.push(cmd.createOption(helpOption.long, helpOption.description).helpGroup(helpOption.helpGroupHeading));
			else if (helpOption.short && !removeShort) visibleOptions.push(cmd.createOption(helpOption.short, helpOption.description).helpGroup(helpOption.helpGroupHeading));
		}
		if (this.sortOptions) visibleOptions.sort(this.compareOptions);
		return visibleOptions;
	}
	/**
	* Get an array of the visible global options. (Not including help.)
	*
	* @param {Command} cmd
	* @returns {Option[]}
	*/
	visibleGlobalOptions(cmd) {
		if (!this.showGlobalOptions) return [];
		const globalOptions = [];
		for (let ancestorCmd = cmd.parent; ancestorCmd; ancestorCmd = ancestorCmd.parent) {
			const visibleOptions = ancestorCmd.options.filter((option) => !option.hidden);
			globalOptions.push(...visibleOptions);
		}
		if (this.sortOptions) globalOptions.sort(this.compareOptions);
		return globalOptions;
	}
	/**
	* Get an array of the arguments if any have a description.
	*
	* @param {Command} cmd
	* @returns {Argument[]}
	*/
	visibleArguments(cmd) {
		if (cmd._argsDescription) cmd.registeredArguments.forEach((argument) => {
			argument.description = argument.description || cmd._argsDescription[argument.name()] || "";
		});
		if (cmd.registeredArguments.find((argument) => argument.description)) return cmd.registeredArguments;
		return [];
	}
	/**
	* Get the command term to show in the list of subcommands.
	*
	* @param {Command} cmd
	* @returns {string}
	*/
	subcommandTerm(cmd) {
		const args = cmd.registeredArguments.map((arg) => humanReadableArgName(arg)).join(" ");
		return cmd._name + (cmd._aliases[0] ? "|" + cmd._aliases[0] : "") + (cmd.options.length ? " [options]" : "") + (args ? " " + args : "");
	}
	/**
	* Get the option term to show in the list of options.
	*
	* @param {Option} option
	* @returns {string}
	*/
	optionTerm(option) {
		return option.flags;
	}
	/**
	* Get the argument term to show in the list of arguments.
	*
	* @param {Argument} argument
	* @returns {string}
	*/
	argumentTerm(argument) {
		return argument.name();
	}
	/**
	* Get the longest command term length.
	*
	* @param {Command} cmd
	* @param {Help} helper
	* @returns {number}
	*/
	longestSubcommandTermLength(cmd, helper) {
		return helper.visibleCommands(cmd).reduce((max, command) => {
			return Math.max(max, this.displayWidth(helper.styleSubcommandTerm(helper.subcommandTerm(command))));
		}, 0);
	}
	/**
	* Get the longest option term length.
	*
	* @param {Command} cmd
	* @param {Help} helper
	* @returns {number}
	*/
	longestOptionTermLength(cmd, helper) {
		return helper.visibleOptions(cmd).reduce((max, option) => {
			return Math.max(max, this.displayWidth(helper.styleOptionTerm(helper.optionTerm(option))));
		}, 0);
	}
	/**
	* Get the longest global option term length.
	*
	* @param {Command} cmd
	* @param {Help} helper
	* @returns {number}
	*/
	longestGlobalOptionTermLength(cmd, helper) {
		return helper.visibleGlobalOptions(cmd).reduce((max, option) => {
			return Math.max(max, this.displayWidth(helper.styleOptionTerm(helper.optionTerm(option))));
		}, 0);
	}
	/**
	* Get the longest argument term length.
	*
	* @param {Command} cmd
	* @param {Help} helper
	* @returns {number}
	*/
	longestArgumentTermLength(cmd, helper) {
		return helper.visibleArguments(cmd).reduce((max, argument) => {
			return Math.max(max, this.displayWidth(helper.styleArgumentTerm(helper.argumentTerm(argument))));
		}, 0);
	}
	/**
	* Get the command usage to be displayed at the top of the built-in help.
	*
	* @param {Command} cmd
	* @returns {string}
	*/
	commandUsage(cmd) {
		let cmdName = cmd._name;
		if (cmd._aliases[0]) cmdName = cmdName + "|" + cmd._aliases[0];
		let ancestorCmdNames = "";
		for (let ancestorCmd = cmd.parent; ancestorCmd; ancestorCmd = ancestorCmd.parent) ancestorCmdNames = ancestorCmd.name() + " " + ancestorCmdNames;
		return ancestorCmdNames + cmdName + " " + cmd.usage();
	}
	/**
	* Get the description for the command.
	*
	* @param {Command} cmd
	* @returns {string}
	*/
	commandDescription(cmd) {
		return cmd.description();
	}
	/**
	* Get the subcommand summary to show in the list of subcommands.
	* (Fallback to description for backwards compatibility.)
	*
	* @param {Command} cmd
	* @returns {string}
	*/
	subcommandDescription(cmd) {
		return cmd.summary() || cmd.description();
	}
	/**
	* Get the option description to show in the list of options.
	*
	* @param {Option} option
	* @return {string}
	*/
	optionDescription(option) {
		const extraInfo = [];
		if (option.argChoices) extraInfo.push(`choices: ${option.argChoices.map((choice) => JSON.stringify(choice)).join(", ")}`);
		if (option.defaultValue !== void 0) {
			if (option.required || option.optional || option.isBoolean() && typeof option.defaultValue === "boolean") extraInfo.push(`default: ${option.defaultValueDescription || JSON.stringify(option.defaultValue)}`);
		}
		if (option.presetArg !== void 0 && option.optional) extraInfo.push(`preset: ${JSON.stringify(option.presetArg)}`);
		if (option.envVar !== void 0) extraInfo.push(`env: ${option.envVar}`);
		if (extraInfo.length > 0) {
			const extraDescription = `(${extraInfo.join(", ")})`;
			if (option.description) return `${option.description} ${extraDescription}`;
			return extraDescription;
		}
		return option.description;
	}
	/**
	* Get the argument description to show in the list of arguments.
	*
	* @param {Argument} argument
	* @return {string}
	*/
	argumentDescription(argument) {
		const extraInfo = [];
		if (argument.argChoices) extraInfo.push(`choices: ${argument.argChoices.map((choice) => JSON.stringify(choice)).join(", ")}`);
		if (argument.defaultValue !== void 0) extraInfo.push(`default: ${argument.defaultValueDescription || JSON.stringify(argument.defaultValue)}`);
		if (extraInfo.length > 0) {
			const extraDescription = `(${extraInfo.join(", ")})`;
			if (argument.description) return `${argument.description} ${extraDescription}`;
			return extraDescription;
		}
		return argument.description;
	}
	/**
	* Format a list of items, given a heading and an array of formatted items.
	*
	* @param {string} heading
	* @param {string[]} items
	* @param {Help} helper
	* @returns string[]
	*/
	formatItemList(heading, items, helper) {
		if (items.length === 0) return [];
		return [
			helper.styleTitle(heading),
			...items,
			""
		];
	}
	/**
	* Group items by their help group heading.
	*
	* @param {Command[] | Option[]} unsortedItems
	* @param {Command[] | Option[]} visibleItems
	* @param {Function} getGroup
	* @returns {Map<string, Command[] | Option[]>}
	*/
	groupItems(unsortedItems, visibleItems, getGroup) {
		const result = /* @__PURE__ */ new Map();
		unsortedItems.forEach((item) => {
			const group = getGroup(item);
			if (!result.has(group)) result.set(group, []);
		});
		visibleItems.forEach((item) => {
			const group = getGroup(item);
			if (!result.has(group)) result.set(group, []);
			result.get(group).push(item);
		});
		return result;
	}
	/**
	* Generate the built-in help text.
	*
	* @param {Command} cmd
	* @param {Help} helper
	* @returns {string}
	*/
	formatHelp(cmd, helper) {
		const termWidth = helper.padWidth(cmd, helper);
		const helpWidth = helper.helpWidth ?? 80;
		function callFormatItem(term, description) {
			return helper.formatItem(term, termWidth, description, helper);
		}
		let output = [`${helper.styleTitle("Usage:")} ${helper.styleUsage(helper.commandUsage(cmd))}`, ""];
		const commandDescription = helper.commandDescription(cmd);
		if (commandDescription.length > 0) output = output.concat([helper.boxWrap(helper.styleCommandDescription(commandDescription), helpWidth), ""]);
		const argumentList = helper.visibleArguments(cmd).map((argument) => {
			return callFormatItem(helper.styleArgumentTerm(helper.argumentTerm(argument)), helper.styleArgumentDescription(helper.argumentDescription(argument)));
		});
		output = output.concat(this.formatItemList("Arguments:", argumentList, helper));
		this.groupItems(cmd.options, helper.visibleOptions(cmd), (option) => option.helpGroupHeading ?? "Options:").forEach((options, group) => {
			const optionList = options.map((option) => {
				return callFormatItem(helper.styleOptionTerm(helper.optionTerm(option)), helper.styleOptionDescription(helper.optionDescription(option)));
			});
			output = output.concat(this.formatItemList(group, optionList, helper));
		});
		if (helper.showGlobalOptions) {
			const globalOptionList = helper.visibleGlobalOptions(cmd).map((option) => {
				return callFormatItem(helper.styleOptionTerm(helper.optionTerm(option)), helper.styleOptionDescription(helper.optionDescription(option)));
			});
			output = output.concat(this.formatItemList("Global Options:", globalOptionList, helper));
		}
		this.groupItems(cmd.commands, helper.visibleCommands(cmd), (sub) => sub.helpGroup() || "Commands:").forEach((commands, group) => {
			const commandList = commands.map((sub) => {
				return callFormatItem(helper.styleSubcommandTerm(helper.subcommandTerm(sub)), helper.styleSubcommandDescription(helper.subcommandDescription(sub)));
			});
			output = output.concat(this.formatItemList(group, commandList, helper));
		});
		return output.join("\n");
	}
	/**
	* Return display width of string, ignoring ANSI escape sequences. Used in padding and wrapping calculations.
	*
	* @param {string} str
	* @returns {number}
	*/
	displayWidth(str) {
		return stripVTControlCharacters(str).length;
	}
	/**
	* Style the title for displaying in the help. Called with 'Usage:', 'Options:', etc.
	*
	* @param {string} str
	* @returns {string}
	*/
	styleTitle(str) {
		return str;
	}
	styleUsage(str) {
		return str.split(" ").map((word) => {
			if (word === "[options]") return this.styleOptionText(word);
			if (word === "[command]") return this.styleSubcommandText(word);
			if (word[0] === "[" || word[0] === "<") return this.styleArgumentText(word);
			return this.styleCommandText(word);
		}).join(" ");
	}
	styleCommandDescription(str) {
		return this.styleDescriptionText(str);
	}
	styleOptionDescription(str) {
		return this.styleDescriptionText(str);
	}
	styleSubcommandDescription(str) {
		return this.styleDescriptionText(str);
	}
	styleArgumentDescription(str) {
		return this.styleDescriptionText(str);
	}
	styleDescriptionText(str) {
		return str;
	}
	styleOptionTerm(str) {
		return this.styleOptionText(str);
	}
	styleSubcommandTerm(str) {
		return str.split(" ").map((word) => {
			if (word === "[options]") return this.styleOptionText(word);
			if (word[0] === "[" || word[0] === "<") return this.styleArgumentText(word);
			return this.styleSubcommandText(word);
		}).join(" ");
	}
	styleArgumentTerm(str) {
		return this.styleArgumentText(str);
	}
	styleOptionText(str) {
		return str;
	}
	styleArgumentText(str) {
		return str;
	}
	styleSubcommandText(str) {
		return str;
	}
	styleCommandText(str) {
		return str;
	}
	/**
	* Calculate the pad width from the maximum term length.
	*
	* @param {Command} cmd
	* @param {Help} helper
	* @returns {number}
	*/
	padWidth(cmd, helper) {
		return Math.max(helper.longestOptionTermLength(cmd, helper), helper.longestGlobalOptionTermLength(cmd, helper), helper.longestSubcommandTermLength(cmd, helper), helper.longestArgumentTermLength(cmd, helper));
	}
	/**
	* Detect manually wrapped and indented strings by checking for line break followed by whitespace.
	*
	* @param {string} str
	* @returns {boolean}
	*/
	preformatted(str) {
		return /\n[^\S\r\n]/.test(str);
	}
	/**
	* Format the "item", which consists of a term and description. Pad the term and wrap the description, indenting the following lines.
	*
	* So "TTT", 5, "DDD DDDD DD DDD" might be formatted for this.helpWidth=17 like so:
	*   TTT  DDD DDDD
	*        DD DDD
	*
	* @param {string} term
	* @param {number} termWidth
	* @param {string} description
	* @param {Help} helper
	* @returns {string}
	*/
	formatItem(term, termWidth, description, helper) {
		const itemIndent = 2;
		const itemIndentStr = " ".repeat(itemIndent);
		if (!description) return itemIndentStr + term;
		const paddedTerm = term.padEnd(termWidth + term.length - helper.displayWidth(term));
		const spacerWidth = 2;
		const remainingWidth = (this.helpWidth ?? 80) - termWidth - spacerWidth - itemIndent;
		let formattedDescription;
		if (remainingWidth < this.minWidthToWrap || helper.preformatted(description)) formattedDescription = description;
		else formattedDescription = helper.boxWrap(description, remainingWidth).replace(/\n/g, "\n" + " ".repeat(termWidth + spacerWidth));
		return itemIndentStr + paddedTerm + " ".repeat(spacerWidth) + formattedDescription.replace(/\n/g, `\n${itemIndentStr}`);
	}
	/**
	* Wrap a string at whitespace, preserving existing line breaks.
	* Wrapping is skipped if the width is less than `minWidthToWrap`.
	*
	* @param {string} str
	* @param {number} width
	* @returns {string}
	*/
	boxWrap(str, width) {
		if (width < this.minWidthToWrap) return str;
		const rawLines = str.split(/\r\n|\n/);
		const chunkPattern = /[\s]*[^\s]+/g;
		const wrappedLines = [];
		rawLines.forEach((line) => {
			const chunks = line.match(chunkPattern);
			if (chunks === null) {
				wrappedLines.push("");
				return;
			}
			let sumChunks = [chunks.shift()];
			let sumWidth = this.displayWidth(sumChunks[0]);
			chunks.forEach((chunk) => {
				const visibleWidth = this.displayWidth(chunk);
				if (sumWidth + visibleWidth <= width) {
					sumChunks.push(chunk);
					sumWidth += visibleWidth;
					return;
				}
				wrappedLines.push(sumChunks.join(""));
				const nextChunk = chunk.trimStart();
				sumChunks = [nextChunk];
				sumWidth = this.displayWidth(nextChunk);
			});
			wrappedLines.push(sumChunks.join(""));
		});
		return wrappedLines.join("\n");
	}
};
// node_modules/commander/lib/option.js
var Option = class {
	/**
	* Initialize a new `Option` with the given `flags` and `description`.
	*
	* @param {string} flags
	* @param {string} [description]
	*/
	constructor(flags, description) {
		this.flags = flags;
		this.description = description || "";
		this.required = flags.includes("<");
		this.optional = flags.includes("[");
		this.variadic = /\p{ID_Continue}\.\.\.[>\]]$/u.test(flags);
		this.mandatory = false;
		const optionFlags = splitOptionFlags(flags);
		this.short = optionFlags.shortFlag;
		this.long = optionFlags.longFlag;
		this.negate = false;
		if (this.long) this.negate = this.long.startsWith("--no-");
		this.defaultValue = void 0;
		this.defaultValueDescription = void 0;
		this.presetArg = void 0;
		this.envVar = void 0;
		this.parseArg = void 0;
		this.hidden = false;
		this.argChoices = void 0;
		this.conflictsWith = [];
		this.implied = void 0;
		this.helpGroupHeading = void 0;
	}
	/**
	* Set the default value, and optionally supply the description to be displayed in the help.
	*
	* @param {*} value
	* @param {string} [description]
	* @return {Option}
	*/
	default(value, description) {
		this.defaultValue = value;
		this.defaultValueDescription = description;
		return this;
	}
	/**
	* Preset to use when option used without option-argument, especially optional but also boolean and negated.
	* The custom processing (parseArg) is called.
	*
	* @example
	* new Option('--color').default('GREYSCALE').preset('RGB');
	* new Option('--donate [amount]').preset('20').argParser(parseFloat);
	*
	* @param {*} arg
	* @return {Option}
	*/
	preset(arg) {
		this.presetArg = arg;
		return this;
	}
	/**
	* Add option name(s) that conflict with this option.
	* An error will be displayed if conflicting options are found during parsing.
	*
	* @example
	* new Option('--rgb').conflicts('cmyk');
	* new Option('--js').conflicts(['ts', 'jsx']);
	*
	* @param {(string | string[])} names
	* @return {Option}
	*/
	conflicts(names) {
		this.conflictsWith = this.conflictsWith.concat(names);
		return this;
	}
	/**
	* Specify implied option values for when this option is set and the implied options are not.
	*
	* The custom processing (parseArg) is not called on the implied values.
	*
	* @example
	* program
	*   .addOption(new Option('--log', 'write logging information to file'))
	*   .addOption(new Option('--trace', 'log extra details').implies({ log: 'trace.txt' }));
	*
	* @param {object} impliedOptionValues
	* @return {Option}
	*/
	implies(impliedOptionValues) {
		let newImplied = impliedOptionValues;
		if (typeof impliedOptionValues === "string") newImplied = { [impliedOptionValues]: true };
		this.implied = Object.assign(this.implied || {}, newImplied);
		return this;
	}
	/**
	* Set environment variable to check for option value.
	*
	* An environment variable is only used if when processed the current option value is
	* undefined, or the source of the current value is 'default' or 'config' or 'env'.
	*
	* @param {string} name
	* @return {Option}
	*/
	env(name) {
		this.envVar = name;
		return this;
	}
	/**
	* Set the custom handler for processing CLI option arguments into option values.
	*
	* @param {Function} [fn]
	* @return {Option}
	*/
	argParser(fn) {
		this.parseArg = fn;
		return this;
	}
	/**
	* Whether the option is mandatory and must have a value after parsing.
	*
	* @param {boolean} [mandatory=true]
	* @return {Option}
	*/
	makeOptionMandatory(mandatory = true) {
		this.mandatory = !!mandatory;
		return this;
	}
	/**
	* Hide option in help.
	*
	* @param {boolean} [hide=true]
	* @return {Option}
	*/
	hideHelp(hide = true) {
		this.hidden = !!hide;
		return this;
	}
	/**
	* @package
	*/
	_collectValue(value, previous) {
		if (previous === this.defaultValue || !Array.isArray(previous)) return [value];
		previous.push(value);
		return previous;
	}
	/**
	* Only allow option value to be one of choices.
	*
	* @param {string[]} values
	* @return {Option}
	*/
	choices(values) {
		this.argChoices = values.slice();
		this.parseArg = (arg, previous) => {
			if (!this.argChoices.includes(arg)) throw new InvalidArgumentError(`Allowed choices are ${this.argChoices.join(", ")}.`);
			if (this.variadic) return this._collectValue(arg, previous);
			return arg;
		};
		return this;
	}
	/**
	* Return option name.
	*
	* @return {string}
	*/
	name() {
		if (this.long) return this.long.replace(/^--/, "");
		return this.short.replace(/^-/, "");
	}
	/**
	* Return option name, in a camelcase format that can be used
	* as an object attribute key.
	*
	* @return {string}
	*/
	attributeName() {
		if (this.negate) return camelcase(this.name().replace(/^no-/, ""));
		return camelcase(this.name());
	}
	/**
	* Set the help group heading.
	*
	* @param {string} heading
	* @return {Option}
	*/
	helpGroup(heading) {
		this.helpGroupHeading = heading;
		return this;
	}
	/**
	* Check if `arg` matches the short or long flag.
	*
	* @param {string} arg
	* @return {boolean}
	* @package
	*/
	is(arg) {
		return this.short === arg || this.long === arg;
	}
	/**
	* Return whether a boolean option.
	*
	* Options are one of boolean, negated, required argument, or optional argument.
	*
	* @return {boolean}
	* @package
	*/
	isBoolean() {
		return !this.required && !this.optional && !this.negate;
	}
};
/**
* This class is to make it easier to work with dual options, without changing the existing
* implementation. We support separate dual options for separate positive and negative options,
* like `--build` and `--no-build`, which share a single option value. This works nicely for some
* use cases, but is tricky for others where we want separate behaviours despite
* the single shared option value.
*/
var DualOptions = class {
	/**
	* @param {Option[]} options
	*/
	constructor(options) {
		this.positiveOptions = /* @__PURE__ */ new Map();
		this.negativeOptions = /* @__PURE__ */ new Map();
		this.dualOptions = /* @__PURE__ */ new Set();
		options.forEach((option) => {
			if (option.negate) this.negativeOptions.set(option.attributeName(), option);
			else this.positiveOptions.set(option.attributeName(), option);
		});
		this.negativeOptions.forEach((value, key) => {
			if (this.positiveOptions.has(key)) this.dualOptions.add(key);
		});
	}
	/**
	* Did the value come from the option, and not from possible matching dual option?
	*
	* @param {*} value
	* @param {Option} option
	* @returns {boolean}
	*/
	valueFromOption(value, option) {
		const optionKey = option.attributeName();
		if (!this.dualOptions.has(optionKey)) return true;
		const preset = this.negativeOptions.get(optionKey).presetArg;
		const negativeValue = preset !== void 0 ? preset : false;
		return option.negate === (negativeValue === value);
	}
};
/**
* Convert string from kebab-case to camelCase.
*
* @param {string} str
* @return {string}
* @private
*/
function camelcase(str) {
	return str.split("-").reduce((str, word) => {
		return str + word[0].toUpperCase() + word.slice(1);
	});
}
/**
* Split the short and long flag out of something like '-m,--mixed <value>'
*
* @private
*/
function splitOptionFlags(flags) {
	let shortFlag;
	let longFlag;
	const shortFlagExp = /^-[^-]$/;
	const longFlagExp = /^--[^-]/;
	const flagParts = flags.split(/[ |,]+/).concat("guard");
	if (shortFlagExp.test(flagParts[0])) shortFlag = flagParts.shift();
	if (longFlagExp.test(flagParts[0])) longFlag = flagParts.shift();
	if (!shortFlag && shortFlagExp.test(flagParts[0])) shortFlag = flagParts.shift();
	if (!shortFlag && longFlagExp.test(flagParts[0])) {
		shortFlag = longFlag;
		longFlag = flagParts.shift();
	}
	if (flagParts[0].startsWith("-")) {
		const unsupportedFlag = flagParts[0];
		const baseError = `option creation failed due to '${unsupportedFlag}' in option flags '${flags}'`;
		if (/^-[^-][^-]/.test(unsupportedFlag)) throw new Error(`${baseError}
- a short flag is a single dash and a single character
  - either use a single dash and a single character (for a short flag)
  - or use a double dash for a long option (and can have two, like '--ws, --workspace')`);
		if (shortFlagExp.test(unsupportedFlag)) throw new Error(`${baseError}
- too many short flags`);
		if (longFlagExp.test(unsupportedFlag)) throw new Error(`${baseError}
- too many long flags`);
		throw new Error(`${baseError}
- unrecognised flag format`);
	}
	if (shortFlag === void 0 && longFlag === void 0) throw new Error(`option creation failed due to no flags found in '${flags}'.`);
	return {
		shortFlag,
		longFlag
	};
}
// node_modules/commander/lib/suggestSimilar.js
const maxDistance = 3;
function editDistance(a, b) {
	if (Math.abs(a.length - b.length) > maxDistance) return Math.max(a.length, b.length);
	const d = [];
	for (let i = 0; i <= a.length; i++) d[i] = [i];
	for (let j = 0; j <= b.length; j++) d[0][j] = j;
	for (let j = 1; j <= b.length; j++) for (let i = 1; i <= a.length; i++) {
		let cost;
		if (a[i - 1] === b[j - 1]) cost = 0;
		else cost = 1;
		d[i][j] = Math.min(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost);
		if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) d[i][j] = Math.min(d[i][j], d[i - 2][j - 2] + 1);
	}
	return d[a.length][b.length];
}
/**
* Find close matches, restricted to same number of edits.
*
* @param {string} word
* @param {string[]} candidates
* @returns {string}
*/
function suggestSimilar(word, candidates) {
	if (!candidates || candidates.length === 0) return "";
	candidates = Array.from(new Set(candidates));
	const searchingOptions = word.startsWith("--");
	if (searchingOptions) {
		word = word.slice(2);
		candidates = candidates.map((candidate) => candidate.slice(2));
	}
	let similar = [];
	let bestDistance = maxDistance;
	const minSimilarity = .4;
	candidates.forEach((candidate) => {
		if (candidate.length <= 1) return;
		const distance = editDistance(word, candidate);
		const length = Math.max(word.length, candidate.length);
		if ((length - distance) / length > minSimilarity) {
			if (distance < bestDistance) {
				bestDistance = distance;
				similar = [candidate];
			} else if (distance === bestDistance) similar.push(candidate);
		}
	});
	similar.sort((a, b) => a.localeCompare(b));
	if (searchingOptions) similar = similar.map((candidate) => `--${candidate}`);
	if (similar.length > 1) return `\n(Did you mean one of ${similar.join(", ")}?)`;
	if (similar.length === 1) return `\n(Did you mean ${similar[0]}?)`;
	return "";
}
// node_modules/commander/lib/command.js
var Command = class Command extends EventEmitter {
	/**
	* Initialize a new `Command`.
	*
	* @param {string} [name]
	*/
	constructor(name) {
		super();
		/** @type {Command[]} */
		this.commands = [];
		/** @type {Option[]} */
		this.options = [];
		this.parent = null;
		this._allowUnknownOption = false;
		this._allowExcessArguments = false;
		/** @type {Argument[]} */
		this.registeredArguments = [];
		this._args = this.registeredArguments;
		/** @type {string[]} */
		this.args = [];
		this.rawArgs = [];
		this.processedArgs = [];
		this._scriptPath = null;
		this._name = name || "";
		this._optionValues = {};
		this._optionValueSources = {};
		this._storeOptionsAsProperties = false;
		this._actionHandler = null;
		this._executableHandler = false;
		this._executableFile = null;
		this._executableDir = null;
		this._defaultCommandName = null;
		this._exitCallback = null;
		this._aliases = [];
		this._combineFlagAndOptionalValue = true;
		this._description = "";
		this._summary = "";
		this._argsDescription = void 0;
		this._enablePositionalOptions = false;
		this._passThroughOptions = false;
		this._lifeCycleHooks = {};
		/** @type {(boolean | string)} */
		this._showHelpAfterError = false;
		this._showSuggestionAfterError = true;
		this._savedState = null;
		this._outputConfiguration = {
			writeOut: (str) => process$1.stdout.write(str),
			writeErr: (str) => process$1.stderr.write(str),
			outputError: (str, write) => write(str),
			getOutHelpWidth: () => process$1.stdout.isTTY ? process$1.stdout.columns : void 0,
			getErrHelpWidth: () => process$1.stderr.isTTY ? process$1.stderr.columns : void 0,
			getOutHasColors: () => useColor() ?? (process$1.stdout.isTTY && process$1.stdout.hasColors?.()),
			getErrHasColors: () => useColor() ?? (process$1.stderr.isTTY && process$1.stderr.hasColors?.()),
			stripColor: (str) => stripVTControlCharacters(str)
		};
		this._hidden = false;
		/** @type {(Option | null | undefined)} */
		this._helpOption = void 0;
		this._addImplicitHelpCommand = void 0;
		/** @type {Command} */
		this._helpCommand = void 0;
		this._helpConfiguration = {};
		/** @type {string | undefined} */
		this._helpGroupHeading = void 0;
		/** @type {string | undefined} */
		this._defaultCommandGroup = void 0;
		/** @type {string | undefined} */
		this._defaultOptionGroup = void 0;
	}
	/**
	* Copy settings that are useful to have in common across root command and subcommands.
	*
	* (Used internally when adding a command using `.command()` so subcommands inherit parent settings.)
	*
	* @param {Command} sourceCommand
	* @return {Command} `this` command for chaining
	*/
	copyInheritedSettings(sourceCommand) {
		this._outputConfiguration = sourceCommand._outputConfiguration;
		this._helpOption = sourceCommand._helpOption;
		this._helpCommand = sourceCommand._helpCommand;
		this._helpConfiguration = sourceCommand._helpConfiguration;
		this._exitCallback = sourceCommand._exitCallback;
		this._storeOptionsAsProperties = sourceCommand._storeOptionsAsProperties;
		this._combineFlagAndOptionalValue = sourceCommand._combineFlagAndOptionalValue;
		this._allowExcessArguments = sourceCommand._allowExcessArguments;
		this._enablePositionalOptions = sourceCommand._enablePositionalOptions;
		this._showHelpAfterError = sourceCommand._showHelpAfterError;
		this._showSuggestionAfterError = sourceCommand._showSuggestionAfterError;
		return this;
	}
	/**
	* @returns {Command[]}
	* @private
	*/
	_getCommandAndAncestors() {
		const result = [];
		for (let command = this; command; command = command.parent) result.push(command);
		return result;
	}
	/**
	* Define a command.
	*
	* There are two styles of command: pay attention to where to put the description.
	*
	* @example
	* // Command implemented using action handler (description is supplied separately to `.command`)
	* program
	*   .command('clone <source> [destination]')
	*   .description('clone a repository into a newly created directory')
	*   .action((source, destination) => {
	*     console.log('clone command called');
	*   });
	*
	* // Command implemented using separate executable file (description is second parameter to `.command`)
	* program
	*   .command('start <service>', 'start named service')
	*   .command('stop [service]', 'stop named service, or all if no name supplied');
	*
	* @param {string} nameAndArgs - command name and arguments, args are `<required>` or `[optional]` and last may also be `variadic...`
	* @param {(object | string)} [actionOptsOrExecDesc] - configuration options (for action), or description (for executable)
	* @param {object} [execOpts] - configuration options (for executable)
	* @return {Command} returns new command for action handler, or `this` for executable command
	*/
	command(nameAndArgs, actionOptsOrExecDesc, execOpts) {
		let desc = actionOptsOrExecDesc;
		let opts = execOpts;
		if (typeof desc === "object" && desc !== null) {
			opts = desc;
			desc = null;
		}
		opts = opts || {};
		const [, name, args] = nameAndArgs.match(/([^ ]+) *(.*)/);
		const cmd = this.createCommand(name);
		if (desc) {
			cmd.description(desc);
			cmd._executableHandler = true;
		}
		if (opts.isDefault) this._defaultCommandName = cmd._name;
		cmd._hidden = !!(opts.noHelp || opts.hidden);
		cmd._executableFile = opts.executableFile || null;
		if (args) cmd.arguments(args);
		this._registerCommand(cmd);
		cmd.parent = this;
		cmd.copyInheritedSettings(this);
		if (desc) return this;
		return cmd;
	}
	/**
	* Factory routine to create a new unattached command.
	*
	* See .command() for creating an attached subcommand, which uses this routine to
	* create the command. You can override createCommand to customise subcommands.
	*
	* @param {string} [name]
	* @return {Command} new command
	*/
	createCommand(name) {
		return new Command(name);
	}
	/**
	* You can customise the help with a subclass of Help by overriding createHelp,
	* or by overriding Help properties using configureHelp().
	*
	* @return {Help}
	*/
	createHelp() {
		return Object.assign(new Help(), this.configureHelp());
	}
	/**
	* You can customise the help by overriding Help properties using configureHelp(),
	* or with a subclass of Help by overriding createHelp().
	*
	* @param {object} [configuration] - configuration options
	* @return {(Command | object)} `this` command for chaining, or stored configuration
	*/
	configureHelp(configuration) {
		if (configuration === void 0) return this._helpConfiguration;
		this._helpConfiguration = configuration;
		return this;
	}
	/**
	* The default output goes to stdout and stderr. You can customise this for special
	* applications. You can also customise the display of errors by overriding outputError.
	*
	* The configuration properties are all functions:
	*
	*     // change how output being written, defaults to stdout and stderr
	*     writeOut(str)
	*     writeErr(str)
	*     // change how output being written for errors, defaults to writeErr
	*     outputError(str, write) // used for displaying errors and not used for displaying help
	*     // specify width for wrapping help
	*     getOutHelpWidth()
	*     getErrHelpWidth()
	*     // color support, currently only used with Help
	*     getOutHasColors()
	*     getErrHasColors()
	*     stripColor() // used to remove ANSI escape codes if output does not have colors
	*
	* @param {object} [configuration] - configuration options
	* @return {(Command | object)} `this` command for chaining, or stored configuration
	*/
	configureOutput(configuration) {
		if (configuration === void 0) return this._outputConfiguration;
		this._outputConfiguration = {
			...this._outputConfiguration,
			...configuration
		};
		return this;
	}
	/**
	* Display the help or a custom message after an error occurs.
	*
	* @param {(boolean|string)} [displayHelp]
	* @return {Command} `this` command for chaining
	*/
	showHelpAfterError(displayHelp = true) {
		if (typeof displayHelp !== "string") displayHelp = !!displayHelp;
		this._showHelpAfterError = displayHelp;
		return this;
	}
	/**
	* Display suggestion of similar commands for unknown commands, or options for unknown options.
	*
	* @param {boolean} [displaySuggestion]
	* @return {Command} `this` command for chaining
	*/
	showSuggestionAfterError(displaySuggestion = true) {
		this._showSuggestionAfterError = !!displaySuggestion;
		return this;
	}
	/**
	* Add a prepared subcommand.
	*
	* See .command() for creating an attached subcommand which inherits settings from its parent.
	*
	* @param {Command} cmd - new subcommand
	* @param {object} [opts] - configuration options
	* @return {Command} `this` command for chaining
	*/
	addCommand(cmd, opts) {
		if (!cmd._name) throw new Error(`Command passed to .addCommand() must have a name
- specify the name in Command constructor or using .name()`);
		opts = opts || {};
		if (opts.isDefault) this._defaultCommandName = cmd._name;
		if (opts.noHelp || opts.hidden) cmd._hidden = true;
		this._registerCommand(cmd);
		cmd.parent = this;
		cmd._checkForBrokenPassThrough();
		return this;
	}
	/**
	* Factory routine to create a new unattached argument.
	*
	* See .argument() for creating an attached argument, which uses this routine to
	* create the argument. You can override createArgument to return a custom argument.
	*
	* @param {string} name
	* @param {string} [description]
	* @return {Argument} new argument
	*/
	createArgument(name, description) {
		return new Argument(name, description);
	}
	/**
	* Define argument syntax for command.
	*
	* The default is that the argument is required, and you can explicitly
	* indicate this with <> around the name. Put [] around the name for an optional argument.
	*
	* @example
	* program.argument('<input-file>');
	* program.argument('[output-file]');
	*
	* @param {string} name
	* @param {string} [description]
	* @param {(Function|*)} [parseArg] - custom argument processing function or default value
	* @param {*} [defaultValue]
	* @return {Command} `this` command for chaining
	*/
	argument(name, description, parseArg, defaultValue) {
		const argument = this.createArgument(name, description);
		if (typeof parseArg === "function") argument.default(defaultValue).argParser(parseArg);
		else argument.default(parseArg);
		this.addArgument(argument);
		return this;
	}
	/**
	* Define argument syntax for command, adding multiple at once (without descriptions).
	*
	* See also .argument().
	*
	* @example
	* program.arguments('<cmd> [env]');
	*
	* @param {string} names
	* @return {Command} `this` command for chaining
	*/
	arguments(names) {
		names.trim().split(/ +/).forEach((detail) => {
			this.argument(detail);
		});
		return this;
	}
	/**
	* Define argument syntax for command, adding a prepared argument.
	*
	* @param {Argument} argument
	* @return {Command} `this` command for chaining
	*/
	addArgument(argument) {
		const previousArgument = this.registeredArguments.slice(-1)[0];
		if (previousArgument?.variadic) throw new Error(`only the last argument can be variadic '${previousArgument.name()}'`);
		if (argument.required && argument.defaultValue !== void 0 && argument.parseArg === void 0) throw new Error(`a default value for a required argument is never used: '${argument.name()}'`);
		this.registeredArguments.push(argument);
		return this;
	}
	/**
	* Customise or override default help command. By default a help command is automatically added if your command has subcommands.
	*
	* @example
	*    program.helpCommand('help [cmd]');
	*    program.helpCommand('help [cmd]', 'show help');
	*    program.helpCommand(false); // suppress default help command
	*    program.helpCommand(true); // add help command even if no subcommands
	*
	* @param {string|boolean} enableOrNameAndArgs - enable with custom name and/or arguments, or boolean to override whether added
	* @param {string} [description] - custom description
	* @return {Command} `this` command for chaining
	*/
	helpCommand(enableOrNameAndArgs, description) {
		if (typeof enableOrNameAndArgs === "boolean") {
			this._addImplicitHelpCommand = enableOrNameAndArgs;
			if (enableOrNameAndArgs && this._defaultCommandGroup) this._initCommandGroup(this._getHelpCommand());
			return this;
		}
		const [, helpName, helpArgs] = (enableOrNameAndArgs ?? "help [command]").match(/([^ ]+) *(.*)/);
		const helpDescription = description ?? "display help for command";
		const helpCommand = this.createCommand(helpName);
		helpCommand.helpOption(false);
		if (helpArgs) helpCommand.arguments(helpArgs);
		if (helpDescription) helpCommand.description(helpDescription);
		this._addImplicitHelpCommand = true;
		this._helpCommand = helpCommand;
		if (enableOrNameAndArgs || description) this._initCommandGroup(helpCommand);
		return this;
	}
	/**
	* Add prepared custom help command.
	*
	* @param {(Command|string|boolean)} helpCommand - custom help command, or deprecated enableOrNameAndArgs as for `.helpCommand()`
	* @param {string} [deprecatedDescription] - deprecated custom description used with custom name only
	* @return {Command} `this` command for chaining
	*/
	addHelpCommand(helpCommand, deprecatedDescription) {
		if (typeof helpCommand !== "object") {
			this.helpCommand(helpCommand, deprecatedDescription);
			return this;
		}
		this._addImplicitHelpCommand = true;
		this._helpCommand = helpCommand;
		this._initCommandGroup(helpCommand);
		return this;
	}
	/**
	* Lazy create help command.
	*
	* @return {(Command|null)}
	* @package
	*/
	_getHelpCommand() {
		if (this._addImplicitHelpCommand ?? (this.commands.length && !this._actionHandler && !this._findCommand("help"))) {
			if (this._helpCommand === void 0) this.helpCommand(void 0, void 0);
			return this._helpCommand;
		}
		return null;
	}
	/**
	* Add hook for life cycle event.
	*
	* @param {string} event
	* @param {Function} listener
	* @return {Command} `this` command for chaining
	*/
	hook(event, listener) {
		const allowedValues = [
			"preSubcommand",
			"preAction",
			"postAction"
		];
		if (!allowedValues.includes(event)) throw new Error(`Unexpected value for event passed to hook : '${event}'.
Expecting one of '${allowedValues.join("', '")}'`);
		if (this._lifeCycleHooks[event]) this._lifeCycleHooks[event].push(listener);
		else this._lifeCycleHooks[event] = [listener];
		return this;
	}
	/**
	* Register callback to use as replacement for calling process.exit.
	*
	* @param {Function} [fn] optional callback which will be passed a CommanderError, defaults to throwing
	* @return {Command} `this` command for chaining
	*/
	exitOverride(fn) {
		if (fn) this._exitCallback = fn;
		else this._exitCallback = (err) => {
			if (err.code !== "commander.executeSubCommandAsync") throw err;
		};
		return this;
	}
	/**
	* Call process.exit, and _exitCallback if defined.
	*
	* @param {number} exitCode exit code for using with process.exit
	* @param {string} code an id string representing the error
	* @param {string} message human-readable description of the error
	* @return never
	* @private
	*/
	_exit(exitCode, code, message) {
		if (this._exitCallback) this._exitCallback(new CommanderError(exitCode, code, message));
		process$1.exit(exitCode);
	}
	/**
	* Register callback `fn` for the command.
	*
	* @example
	* program
	*   .command('serve')
	*   .description('start service')
	*   .action(function() {
	*      // do work here
	*   });
	*
	* @param {Function} fn
	* @return {Command} `this` command for chaining
	*/
	action(fn) {
		const listener = (args) => {
			const expectedArgsCount = this.registeredArguments.length;
			const actionArgs = args.slice(0, expectedArgsCount);
			if (this._storeOptionsAsProperties) actionArgs[expectedArgsCount] = this;
			else actionArgs[expectedArgsCount] = this.opts();
			actionArgs.push(this);
			return fn.apply(this, actionArgs);
		};
		this._actionHandler = listener;
		return this;
	}
	/**
	* Factory routine to create a new unattached option.
	*
	* See .option() for creating an attached option, which uses this routine to
	* create the option. You can override createOption to return a custom option.
	*
	* @param {string} flags
	* @param {string} [description]
	* @return {Option} new option
	*/
	createOption(flags, description) {
		return new Option(flags, description);
	}
	/**
	* Wrap parseArgs to catch 'commander.invalidArgument'.
	*
	* @param {(Option | Argument)} target
	* @param {string} value
	* @param {*} previous
	* @param {string} invalidArgumentMessage
	* @private
	*/
	_callParseArg(target, value, previous, invalidArgumentMessage) {
		try {
			return target.parseArg(value, previous);
		} catch (err) {
			if (err.code === "commander.invalidArgument") {
				const message = `${invalidArgumentMessage} ${err.message}`;
				this.error(message, {
					exitCode: err.exitCode,
					code: err.code
				});
			}
			throw err;
		}
	}
	/**
	* Check for option flag conflicts.
	* Register option if no conflicts found, or throw on conflict.
	*
	* @param {Option} option
	* @private
	*/
	_registerOption(option) {
		const matchingOption = option.short && this._findOption(option.short) || option.long && this._findOption(option.long);
		if (matchingOption) {
			const matchingFlag = option.long && this._findOption(option.long) ? option.long : option.short;
			throw new Error(`Cannot add option '${option.flags}'${this._name && ` to command '${this._name}'`} due to conflicting flag '${matchingFlag}'
-  already used by option '${matchingOption.flags}'`);
		}
		this._initOptionGroup(option);
		this.options.push(option);
	}
	/**
	* Check for command name and alias conflicts with existing commands.
	* Register command if no conflicts found, or throw on conflict.
	*
	* @param {Command} command
	* @private
	*/
	_registerCommand(command) {
		const knownBy = (cmd) => {
			return [cmd.name()].concat(cmd.aliases());
		};
		const alreadyUsed = knownBy(command).find((name) => this._findCommand(name));
		if (alreadyUsed) {
			const existingCmd = knownBy(this._findCommand(alreadyUsed)).join("|");
			const newCmd = knownBy(command).join("|");
			throw new Error(`cannot add command '${newCmd}' as already have command '${existingCmd}'`);
		}
		this._initCommandGroup(command);
		this.commands.push(command);
	}
	/**
	* Add an option.
	*
	* @param {Option} option
	* @return {Command} `this` command for chaining
	*/
	addOption(option) {
		this._registerOption(option);
		const oname = option.name();
		const name = option.attributeName();
		if (option.defaultValue !== void 0) this.setOptionValueWithSource(name, option.defaultValue, "default");
		const handleOptionValue = (val, invalidValueMessage, valueSource) => {
			if (val == null && option.presetArg !== void 0) val = option.presetArg;
			const oldValue = this.getOptionValue(name);
			if (val !== null && option.parseArg) val = this._callParseArg(option, val, oldValue, invalidValueMessage);
			else if (val !== null && option.variadic) val = option._collectValue(val, oldValue);
			if (val == null) {
				if (option.negate) val = false;
				else if (option.isBoolean() || option.optional) val = true;
				else val = "";
			}
			this.setOptionValueWithSource(name, val, valueSource);
		};
		this.on("option:" + oname, (val) => {
			const invalidValueMessage = `error: option '${option.flags}' argument '${val}' is invalid.`;
			handleOptionValue(val, invalidValueMessage, "cli");
		});
		if (option.envVar) this.on("optionEnv:" + oname, (val) => {
			const invalidValueMessage = `error: option '${option.flags}' value '${val}' from env '${option.envVar}' is invalid.`;
			handleOptionValue(val, invalidValueMessage, "env");
		});
		return this;
	}
	/**
	* Internal implementation shared by .option() and .requiredOption()
	*
	* @return {Command} `this` command for chaining
	* @private
	*/
	_optionEx(config, flags, description, fn, defaultValue) {
		if (typeof flags === "object" && flags instanceof Option) throw new Error("To add an Option object use addOption() instead of option() or requiredOption()");
		const option = this.createOption(flags, description);
		option.makeOptionMandatory(!!config.mandatory);
		if (typeof fn === "function") option.default(defaultValue).argParser(fn);
		else if (fn instanceof RegExp) {
			const regex = fn;
			fn = (val, def) => {
				const m = regex.exec(val);
				return m ? m[0] : def;
			};
			option.default(defaultValue).argParser(fn);
		} else option.default(fn);
		return this.addOption(option);
	}
	/**
	* Define option with `flags`, `description`, and optional argument parsing function or `defaultValue` or both.
	*
	* The `flags` string contains the short and/or long flags, separated by comma, a pipe or space. A required
	* option-argument is indicated by `<>` and an optional option-argument by `[]`.
	*
	* See the README for more details, and see also addOption() and requiredOption().
	*
	* @example
	* program
	*     .option('-p, --pepper', 'add pepper')
	*     .option('--pt, --pizza-type <TYPE>', 'type of pizza') // required option-argument
	*     .option('-c, --cheese [CHEESE]', 'add extra cheese', 'mozzarella') // optional option-argument with default
	*     .option('-t, --tip <VALUE>', 'add tip to purchase cost', parseFloat) // custom parse function
	*
	* @param {string} flags
	* @param {string} [description]
	* @param {(Function|*)} [parseArg] - custom option processing function or default value
	* @param {*} [defaultValue]
	* @return {Command} `this` command for chaining
	*/
	option(flags, description, parseArg, defaultValue) {
		return this._optionEx({}, flags, description, parseArg, defaultValue);
	}
	/**
	* Add a required option which must have a value after parsing. This usually means
	* the option must be specified on the command line. (Otherwise the same as .option().)
	*
	* The `flags` string contains the short and/or long flags, separated by comma, a pipe or space.
	*
	* @param {string} flags
	* @param {string} [description]
	* @param {(Function|*)} [parseArg] - custom option processing function or default value
	* @param {*} [defaultValue]
	* @return {Command} `this` command for chaining
	*/
	requiredOption(flags, description, parseArg, defaultValue) {
		return this._optionEx({ mandatory: true }, flags, description, parseArg, defaultValue);
	}
	/**
	* Alter parsing of short flags with optional values.
	*
	* @example
	* // for `.option('-f,--flag [value]'):
	* program.combineFlagAndOptionalValue(true);  // `-f80` is treated like `--flag=80`, this is the default behaviour
	* program.combineFlagAndOptionalValue(false) // `-fb` is treated like `-f -b`
	*
	* @param {boolean} [combine] - if `true` or omitted, an optional value can be specified directly after the flag.
	* @return {Command} `this` command for chaining
	*/
	combineFlagAndOptionalValue(combine = true) {
		this._combineFlagAndOptionalValue = !!combine;
		return this;
	}
	/**
	* Allow unknown options on the command line.
	*
	* @param {boolean} [allowUnknown] - if `true` or omitted, no error will be thrown for unknown options.
	* @return {Command} `this` command for chaining
	*/
	allowUnknownOption(allowUnknown = true) {
		this._allowUnknownOption = !!allowUnknown;
		return this;
	}
	/**
	* Allow excess command-arguments on the command line. Pass false to make excess arguments an error.
	*
	* @param {boolean} [allowExcess] - if `true` or omitted, no error will be thrown for excess arguments.
	* @return {Command} `this` command for chaining
	*/
	allowExcessArguments(allowExcess = true) {
		this._allowExcessArguments = !!allowExcess;
		return this;
	}
	/**
	* Enable positional options. Positional means global options are specified before subcommands which lets
	* subcommands reuse the same option names, and also enables subcommands to turn on passThroughOptions.
	* The default behaviour is non-positional and global options may appear anywhere on the command line.
	*
	* @param {boolean} [positional]
	* @return {Command} `this` command for chaining
	*/
	enablePositionalOptions(positional = true) {
		this._enablePositionalOptions = !!positional;
		return this;
	}
	/**
	* Pass through options that come after command-arguments rather than treat them as command-options,
	* so actual command-options come before command-arguments. Turning this on for a subcommand requires
	* positional options to have been enabled on the program (parent commands).
	* The default behaviour is non-positional and options may appear before or after command-arguments.
	*
	* @param {boolean} [passThrough] for unknown options.
	* @return {Command} `this` command for chaining
	*/
	passThroughOptions(passThrough = true) {
		this._passThroughOptions = !!passThrough;
		this._checkForBrokenPassThrough();
		return this;
	}
	/**
	* @private
	*/
	_checkForBrokenPassThrough() {
		if (this.parent && this._passThroughOptions && !this.parent._enablePositionalOptions) throw new Error(`passThroughOptions cannot be used for '${this._name}' without turning on enablePositionalOptions for parent command(s)`);
	}
	/**
	* Whether to store option values as properties on command object,
	* or store separately (specify false). In both cases the option values can be accessed using .opts().
	*
	* @param {boolean} [storeAsProperties=true]
	* @return {Command} `this` command for chaining
	*/
	storeOptionsAsProperties(storeAsProperties = true) {
		if (this.options.length) throw new Error("call .storeOptionsAsProperties() before adding options");
		if (Object.keys(this._optionValues).length) throw new Error("call .storeOptionsAsProperties() before setting option values");
		this._storeOptionsAsProperties = !!storeAsProperties;
		return this;
	}
	/**
	* Retrieve option value.
	*
	* @param {string} key
	* @return {object} value
	*/
	getOptionValue(key) {
		if (this._storeOptionsAsProperties) return this[key];
		return this._optionValues[key];
	}
	/**
	* Store option value.
	*
	* @param {string} key
	* @param {object} value
	* @return {Command} `this` command for chaining
	*/
	setOptionValue(key, value) {
		return this.setOptionValueWithSource(key, value, void 0);
	}
	/**
	* Store option value and where the value came from.
	*
	* @param {string} key
	* @param {object} value
	* @param {string} source - expected values are default/config/env/cli/implied
	* @return {Command} `this` command for chaining
	*/
	setOptionValueWithSource(key, value, source) {
		if (this._storeOptionsAsProperties) this[key] = value;
		else this._optionValues[key] = value;
		this._optionValueSources[key] = source;
		return this;
	}
	/**
	* Get source of option value.
	* Expected values are default | config | env | cli | implied
	*
	* @param {string} key
	* @return {string}
	*/
	getOptionValueSource(key) {
		return this._optionValueSources[key];
	}
	/**
	* Get source of option value. See also .optsWithGlobals().
	* Expected values are default | config | env | cli | implied
	*
	* @param {string} key
	* @return {string}
	*/
	getOptionValueSourceWithGlobals(key) {
		let source;
		this._getCommandAndAncestors().forEach((cmd) => {
			if (Object.hasOwn(cmd._optionValueSources, key)) source = cmd.getOptionValueSource(key);
		});
		return source;
	}
	/**
	* Get user arguments from implied or explicit arguments.
	* Side-effects: set _scriptPath if args included script. Used for default program name, and subcommand searches.
	*
	* @private
	*/
	_prepareUserArgs(argv, parseOptions) {
		if (argv !== void 0 && !Array.isArray(argv)) throw new Error("first parameter to parse must be array or undefined");
		parseOptions = parseOptions || {};
		if (argv === void 0 && parseOptions.from === void 0) {
			if (process$1.versions?.electron) parseOptions.from = "electron";
			const execArgv = process$1.execArgv ?? [];
			if (execArgv.includes("-e") || execArgv.includes("--eval") || execArgv.includes("-p") || execArgv.includes("--print")) parseOptions.from = "eval";
		}
		if (argv === void 0) argv = process$1.argv;
		this.rawArgs = argv.slice();
		let userArgs;
		switch (parseOptions.from) {
			case void 0:
			case "node":
				this._scriptPath = argv[1];
				userArgs = argv.slice(2);
				break;
			case "electron":
				if (process$1.defaultApp) {
					this._scriptPath = argv[1];
					userArgs = argv.slice(2);
				} else userArgs = argv.slice(1);
				break;
			case "user":
				userArgs = argv.slice(0);
				break;
			case "eval":
				userArgs = argv.slice(1);
				break;
			default: throw new Error(`unexpected parse option { from: '${parseOptions.from}' }`);
		}
		if (!this._name && this._scriptPath) this.nameFromFilename(this._scriptPath);
		this._name = this._name || "program";
		return userArgs;
	}
	/**
	* Parse `argv`, setting options and invoking commands when defined.
	*
	* Use parseAsync instead of parse if any of your action handlers are async.
	*
	* Call with no parameters to parse `process.argv`. Detects Electron and special node options like `node --eval`. Easy mode!
	*
	* Or call with an array of strings to parse, and optionally where the user arguments start by specifying where the arguments are `from`:
	* - `'node'`: default, `argv[0]` is the application and `argv[1]` is the script being run, with user arguments after that
	* - `'electron'`: `argv[0]` is the application and `argv[1]` varies depending on whether the electron application is packaged
	* - `'user'`: just user arguments
	*
	* @example
	* program.parse(); // parse process.argv and auto-detect electron and special node flags
	* program.parse(process.argv); // assume argv[0] is app and argv[1] is script
	* program.parse(my-args, { from: 'user' }); // just user supplied arguments, nothing special about argv[0]
	*
	* @param {string[]} [argv] - optional, defaults to process.argv
	* @param {object} [parseOptions] - optionally specify style of options with from: node/user/electron
	* @param {string} [parseOptions.from] - where the args are from: 'node', 'user', 'electron'
	* @return {Command} `this` command for chaining
	*/
	parse(argv, parseOptions) {
		this._prepareForParse();
		const userArgs = this._prepareUserArgs(argv, parseOptions);
		this._parseCommand([], userArgs);
		return this;
	}
	/**
	* Parse `argv`, setting options and invoking commands when defined.
	*
	* Call with no parameters to parse `process.argv`. Detects Electron and special node options like `node --eval`. Easy mode!
	*
	* Or call with an array of strings to parse, and optionally where the user arguments start by specifying where the arguments are `from`:
	* - `'node'`: default, `argv[0]` is the application and `argv[1]` is the script being run, with user arguments after that
	* - `'electron'`: `argv[0]` is the application and `argv[1]` varies depending on whether the electron application is packaged
	* - `'user'`: just user arguments
	*
	* @example
	* await program.parseAsync(); // parse process.argv and auto-detect electron and special node flags
	* await program.parseAsync(process.argv); // assume argv[0] is app and argv[1] is script
	* await program.parseAsync(my-args, { from: 'user' }); // just user supplied arguments, nothing special about argv[0]
	*
	* @param {string[]} [argv]
	* @param {object} [parseOptions]
	* @param {string} parseOptions.from - where the args are from: 'node', 'user', 'electron'
	* @return {Promise}
	*/
	async parseAsync(argv, parseOptions) {
		this._prepareForParse();
		const userArgs = this._prepareUserArgs(argv, parseOptions);
		await this._parseCommand([], userArgs);
		return this;
	}
	_prepareForParse() {
		if (this._savedState === null) {
			this.options.filter((option) => option.negate && option.defaultValue === void 0 && this.getOptionValue(option.attributeName()) === void 0).forEach((option) => {
				const positiveLongFlag = option.long.replace(/^--no-/, "--");
				if (!this._findOption(positiveLongFlag)) this.setOptionValueWithSource(option.attributeName(), true, "default");
			});
			this.saveStateBeforeParse();
		} else this.restoreStateBeforeParse();
	}
	/**
	* Called the first time parse is called to save state and allow a restore before subsequent calls to parse.
	* Not usually called directly, but available for subclasses to save their custom state.
	*
	* This is called in a lazy way. Only commands used in parsing chain will have state saved.
	*/
	saveStateBeforeParse() {
		this._savedState = {
			_name: this._name,
			_optionValues: { ...this._optionValues },
			_optionValueSources: { ...this._optionValueSources }
		};
	}
	/**
	* Restore state before parse for calls after the first.
	* Not usually called directly, but available for subclasses to save their custom state.
	*
	* This is called in a lazy way. Only commands used in parsing chain will have state restored.
	*/
	restoreStateBeforeParse() {
		if (this._storeOptionsAsProperties) throw new Error(`Can not call parse again when storeOptionsAsProperties is true.
- either make a new Command for each call to parse, or stop storing options as properties`);
		this._name = this._savedState._name;
		this._scriptPath = null;
		this.rawArgs = [];
		this._optionValues = { ...this._savedState._optionValues };
		this._optionValueSources = { ...this._savedState._optionValueSources };
		this.args = [];
		this.processedArgs = [];
	}
	/**
	* Throw if expected executable is missing. Add lots of help for author.
	*
	* @param {string} executableFile
	* @param {string} executableDir
	* @param {string} subcommandName
	*/
	_checkForMissingExecutable(executableFile, executableDir, subcommandName) {
		if (fs.existsSync(executableFile)) return;
		const executableMissing = `'${executableFile}' does not exist
 - if '${subcommandName}' is not meant to be an executable command, remove description parameter from '.command()' and use '.description()' instead
 - if the default executable name is not suitable, use the executableFile option to supply a custom name or path
 - ${executableDir ? `searched for local subcommand relative to directory '${executableDir}'` : "no directory for search for local subcommand, use .executableDir() to supply a custom directory"}`;
		throw new Error(executableMissing);
	}
	/**
	* Execute a sub-command executable.
	*
	* @private
	*/
	_executeSubCommand(subcommand, args) {
		args = args.slice();
		const sourceExt = [
			".js",
			".ts",
			".tsx",
			".mjs",
			".cjs"
		];
		function findFile(baseDir, baseName) {
			const localBin = path.resolve(baseDir, baseName);
			if (fs.existsSync(localBin)) return localBin;
			if (sourceExt.includes(path.extname(baseName))) return void 0;
			const foundExt = sourceExt.find((ext) => fs.existsSync(`${localBin}${ext}`));
			if (foundExt) return `${localBin}${foundExt}`;
		}
		this._checkForMissingMandatoryOptions();
		this._checkForConflictingOptions();
		let executableFile = subcommand._executableFile || `${this._name}-${subcommand._name}`;
		let executableDir = this._executableDir || "";
		if (this._scriptPath) {
			let resolvedScriptPath;
			try {
				resolvedScriptPath = fs.realpathSync(this._scriptPath);
			} catch {
				resolvedScriptPath = this._scriptPath;
			}
			executableDir = path.resolve(path.dirname(resolvedScriptPath), executableDir);
		}
		if (executableDir) {
			let localFile = findFile(executableDir, executableFile);
			if (!localFile && !subcommand._executableFile && this._scriptPath) {
				const legacyName = path.basename(this._scriptPath, path.extname(this._scriptPath));
				if (legacyName !== this._name) localFile = findFile(executableDir, `${legacyName}-${subcommand._name}`);
			}
			executableFile = localFile || executableFile;
		}
		const launchWithNode = sourceExt.includes(path.extname(executableFile));
		let proc;
		if (process$1.platform !== "win32") {
			if (launchWithNode) {
				args.unshift(executableFile);
				args = incrementNodeInspectorPort(process$1.execArgv).concat(args);
				proc = childProcess.spawn(process$1.argv[0], args, { stdio: "inherit" });
			} else proc = childProcess.spawn(executableFile, args, { stdio: "inherit" });
		} else {
			this._checkForMissingExecutable(executableFile, executableDir, subcommand._name);
			args.unshift(executableFile);
			args = incrementNodeInspectorPort(process$1.execArgv).concat(args);
			proc = childProcess.spawn(process$1.execPath, args, { stdio: "inherit" });
		}
		if (!proc.killed) [
			"SIGUSR1",
			"SIGUSR2",
			"SIGTERM",
			"SIGINT",
			"SIGHUP"
		].forEach((signal) => {
			process$1.on(signal, () => {
				if (proc.killed === false && proc.exitCode === null) proc.kill(signal);
			});
		});
		const exitCallback = this._exitCallback;
		proc.on("close", (code) => {
			code = code ?? 1;
			if (!exitCallback) process$1.exit(code);
			else exitCallback(new CommanderError(code, "commander.executeSubCommandAsync", "(close)"));
		});
		proc.on("error", (err) => {
			if (err.code === "ENOENT") this._checkForMissingExecutable(executableFile, executableDir, subcommand._name);
			else if (err.code === "EACCES") throw new Error(`'${executableFile}' not executable`);
			if (!exitCallback) process$1.exit(1);
			else {
				const wrappedError = new CommanderError(1, "commander.executeSubCommandAsync", "(error)");
				wrappedError.nestedError = err;
				exitCallback(wrappedError);
			}
		});
		this.runningCommand = proc;
	}
	/**
	* @private
	*/
	_dispatchSubcommand(commandName, operands, unknown) {
		const subCommand = this._findCommand(commandName);
		if (!subCommand) this.help({ error: true });
		subCommand._prepareForParse();
		let promiseChain;
		promiseChain = this._chainOrCallSubCommandHook(promiseChain, subCommand, "preSubcommand");
		promiseChain = this._chainOrCall(promiseChain, () => {
			if (subCommand._executableHandler) this._executeSubCommand(subCommand, operands.concat(unknown));
			else return subCommand._parseCommand(operands, unknown);
		});
		return promiseChain;
	}
	/**
	* Invoke help directly if possible, or dispatch if necessary.
	* e.g. help foo
	*
	* @private
	*/
	_dispatchHelpCommand(subcommandName) {
		if (!subcommandName) this.help();
		const subCommand = this._findCommand(subcommandName);
		if (subCommand && !subCommand._executableHandler) subCommand.help();
		return this._dispatchSubcommand(subcommandName, [], [this._getHelpOption()?.long ?? this._getHelpOption()?.short ?? "--help"]);
	}
	/**
	* Check this.args against expected this.registeredArguments.
	*
	* @private
	*/
	_checkNumberOfArguments() {
		this.registeredArguments.forEach((arg, i) => {
			if (arg.required && this.args[i] == null) this.missingArgument(arg.name());
		});
		if (this.registeredArguments.length > 0 && this.registeredArguments[this.registeredArguments.length - 1].variadic) return;
		if (this.args.length > this.registeredArguments.length) this._excessArguments(this.args);
	}
	/**
	* Process this.args using this.registeredArguments and save as this.processedArgs!
	*
	* @private
	*/
	_processArguments() {
		const myParseArg = (argument, value, previous) => {
			let parsedValue = value;
			if (value !== null && argument.parseArg) {
				const invalidValueMessage = `error: command-argument value '${value}' is invalid for argument '${argument.name()}'.`;
				parsedValue = this._callParseArg(argument, value, previous, invalidValueMessage);
			}
			return parsedValue;
		};
		this._checkNumberOfArguments();
		const processedArgs = [];
		this.registeredArguments.forEach((declaredArg, index) => {
			let value = declaredArg.defaultValue;
			if (declaredArg.variadic) {
				if (index < this.args.length) {
					value = this.args.slice(index);
					if (declaredArg.parseArg) value = value.reduce((processed, v) => {
						return myParseArg(declaredArg, v, processed);
					}, declaredArg.defaultValue);
				} else if (value === void 0) value = [];
			} else if (index < this.args.length) {
				value = this.args[index];
				if (declaredArg.parseArg) value = myParseArg(declaredArg, value, declaredArg.defaultValue);
			}
			processedArgs[index] = value;
		});
		this.processedArgs = processedArgs;
	}
	/**
	* Once we have a promise we chain, but call synchronously until then.
	*
	* @param {(Promise|undefined)} promise
	* @param {Function} fn
	* @return {(Promise|undefined)}
	* @private
	*/
	_chainOrCall(promise, fn) {
		if (promise?.then && typeof promise.then === "function") return promise.then(() => fn());
		return fn();
	}
	/**
	*
	* @param {(Promise|undefined)} promise
	* @param {string} event
	* @return {(Promise|undefined)}
	* @private
	*/
	_chainOrCallHooks(promise, event) {
		let result = promise;
		const hooks = [];
		this._getCommandAndAncestors().reverse().filter((cmd) => cmd._lifeCycleHooks[event] !== void 0).forEach((hookedCommand) => {
			hookedCommand._lifeCycleHooks[event].forEach((callback) => {
				hooks.push({
					hookedCommand,
					callback
				});
			});
		});
		if (event === "postAction") hooks.reverse();
		hooks.forEach((hookDetail) => {
			result = this._chainOrCall(result, () => {
				return hookDetail.callback(hookDetail.hookedCommand, this);
			});
		});
		return result;
	}
	/**
	*
	* @param {(Promise|undefined)} promise
	* @param {Command} subCommand
	* @param {string} event
	* @return {(Promise|undefined)}
	* @private
	*/
	_chainOrCallSubCommandHook(promise, subCommand, event) {
		let result = promise;
		if (this._lifeCycleHooks[event] !== void 0) this._lifeCycleHooks[event].forEach((hook) => {
			result = this._chainOrCall(result, () => {
				return hook(this, subCommand);
			});
		});
		return result;
	}
	/**
	* Process arguments in context of this command.
	* Returns action result, in case it is a promise.
	*
	* @private
	*/
	_parseCommand(operands, unknown) {
		const parsed = this.parseOptions(unknown);
		this._parseOptionsEnv();
		this._parseOptionsImplied();
		operands = operands.concat(parsed.operands);
		unknown = parsed.unknown;
		this.args = operands.concat(unknown);
		if (operands && this._findCommand(operands[0])) return this._dispatchSubcommand(operands[0], operands.slice(1), unknown);
		if (this._getHelpCommand() && operands[0] === this._getHelpCommand().name()) return this._dispatchHelpCommand(operands[1]);
		if (this._defaultCommandName) {
			this._outputHelpIfRequested(unknown);
			return this._dispatchSubcommand(this._defaultCommandName, operands, unknown);
		}
		if (this.commands.length && this.args.length === 0 && !this._actionHandler && !this._defaultCommandName) this.help({ error: true });
		this._outputHelpIfRequested(parsed.unknown);
		this._checkForMissingMandatoryOptions();
		this._checkForConflictingOptions();
		const checkForUnknownOptions = () => {
			if (parsed.unknown.length > 0) this.unknownOption(parsed.unknown[0]);
		};
		const commandEvent = `command:${this.name()}`;
		if (this._actionHandler) {
			checkForUnknownOptions();
			this._processArguments();
			let promiseChain;
			promiseChain = this._chainOrCallHooks(promiseChain, "preAction");
			promiseChain = this._chainOrCall(promiseChain, () => this._actionHandler(this.processedArgs));
			if (this.parent) promiseChain = this._chainOrCall(promiseChain, () => {
				this.parent.emit(commandEvent, operands, unknown);
			});
			promiseChain = this._chainOrCallHooks(promiseChain, "postAction");
			return promiseChain;
		}
		if (this.parent?.listenerCount(commandEvent)) {
			checkForUnknownOptions();
			this._processArguments();
			this.parent.emit(commandEvent, operands, unknown);
		} else if (operands.length) {
			if (this._findCommand("*")) return this._dispatchSubcommand("*", operands, unknown);
			if (this.listenerCount("command:*")) this.emit("command:*", operands, unknown);
			else if (this.commands.length) this.unknownCommand();
			else {
				checkForUnknownOptions();
				this._processArguments();
			}
		} else if (this.commands.length) {
			checkForUnknownOptions();
			this.help({ error: true });
		} else {
			checkForUnknownOptions();
			this._processArguments();
		}
	}
	/**
	* Find matching command.
	*
	* @private
	* @return {Command | undefined}
	*/
	_findCommand(name) {
		if (!name) return void 0;
		return this.commands.find((cmd) => cmd._name === name || cmd._aliases.includes(name));
	}
	/**
	* Return an option matching `arg` if any.
	*
	* @param {string} arg
	* @return {Option}
	* @package
	*/
	_findOption(arg) {
		return this.options.find((option) => option.is(arg));
	}
	/**
	* Display an error message if a mandatory option does not have a value.
	* Called after checking for help flags in leaf subcommand.
	*
	* @private
	*/
	_checkForMissingMandatoryOptions() {
		this._getCommandAndAncestors().forEach((cmd) => {
			cmd.options.forEach((anOption) => {
				if (anOption.mandatory && cmd.getOptionValue(anOption.attributeName()) === void 0) cmd.missingMandatoryOptionValue(anOption);
			});
		});
	}
	/**
	* Display an error message if conflicting options are used together in this.
	*
	* @private
	*/
	_checkForConflictingLocalOptions() {
		const definedNonDefaultOptions = this.options.filter((option) => {
			const optionKey = option.attributeName();
			if (this.getOptionValue(optionKey) === void 0) return false;
			return this.getOptionValueSource(optionKey) !== "default";
		});
		definedNonDefaultOptions.filter((option) => option.conflictsWith.length > 0).forEach((option) => {
			const conflictingAndDefined = definedNonDefaultOptions.find((defined) => option.conflictsWith.includes(defined.attributeName()));
			if (conflictingAndDefined) this._conflictingOption(option, conflictingAndDefined);
		});
	}
	/**
	* Display an error message if conflicting options are used together.
	* Called after checking for help flags in leaf subcommand.
	*
	* @private
	*/
	_checkForConflictingOptions() {
		this._getCommandAndAncestors().forEach((cmd) => {
			cmd._checkForConflictingLocalOptions();
		});
	}
	/**
	* Parse options from `argv` removing known options,
	* and return argv split into operands and unknown arguments.
	*
	* Side effects: modifies command by storing options. Does not reset state if called again.
	*
	* Examples:
	*
	*     argv => operands, unknown
	*     --known kkk op => [op], []
	*     op --known kkk => [op], []
	*     sub --unknown uuu op => [sub], [--unknown uuu op]
	*     sub -- --unknown uuu op => [sub --unknown uuu op], []
	*
	* @param {string[]} args
	* @return {{operands: string[], unknown: string[]}}
	*/
	parseOptions(args) {
		const operands = [];
		const unknown = [];
		let dest = operands;
		function maybeOption(arg) {
			return arg.length > 1 && arg[0] === "-";
		}
		const negativeNumberArg = (arg) => {
			if (!/^-(\d+|\d*\.\d+)([eE][+-]?\d+)?$/.test(arg)) return false;
			return !this._getCommandAndAncestors().some((cmd) => cmd.options.map((opt) => opt.short).some((short) => /^-\d$/.test(short)));
		};
		let activeVariadicOption = null;
		let activeGroup = null;
		let i = 0;
		while (i < args.length || activeGroup) {
			const arg = activeGroup ?? args[i++];
			activeGroup = null;
			if (arg === "--") {
				if (dest === unknown) dest.push(arg);
				dest.push(...args.slice(i));
				break;
			}
			if (activeVariadicOption && (!maybeOption(arg) || negativeNumberArg(arg))) {
				this.emit(`option:${activeVariadicOption.name()}`, arg);
				continue;
			}
			activeVariadicOption = null;
			if (maybeOption(arg)) {
				const option = this._findOption(arg);
				if (option) {
					if (option.required) {
						const value = args[i++];
						if (value === void 0) this.optionMissingArgument(option);
						this.emit(`option:${option.name()}`, value);
					} else if (option.optional) {
						let value = null;
						if (i < args.length && (!maybeOption(args[i]) || negativeNumberArg(args[i]))) value = args[i++];
						this.emit(`option:${option.name()}`, value);
					} else this.emit(`option:${option.name()}`);
					activeVariadicOption = option.variadic ? option : null;
					continue;
				}
			}
			if (arg.length > 2 && arg[0] === "-" && arg[1] !== "-") {
				const option = this._findOption(`-${arg[1]}`);
				if (option) {
					if (option.required || option.optional && this._combineFlagAndOptionalValue) this.emit(`option:${option.name()}`, arg.slice(2));
					else {
						this.emit(`option:${option.name()}`);
						activeGroup = `-${arg.slice(2)}`;
					}
					continue;
				}
			}
			if (/^--[^=]+=/.test(arg)) {
				const index = arg.indexOf("=");
				const option = this._findOption(arg.slice(0, index));
				if (option && (option.required || option.optional)) {
					this.emit(`option:${option.name()}`, arg.slice(index + 1));
					continue;
				}
			}
			if (dest === operands && maybeOption(arg) && !(this.commands.length === 0 && negativeNumberArg(arg))) dest = unknown;
			if ((this._enablePositionalOptions || this._passThroughOptions) && operands.length === 0 && unknown.length === 0) {
				if (this._findCommand(arg)) {
					operands.push(arg);
					unknown.push(...args.slice(i));
					break;
				} else if (this._getHelpCommand() && arg === this._getHelpCommand().name()) {
					operands.push(arg, ...args.slice(i));
					break;
				} else if (this._defaultCommandName) {
					unknown.push(arg, ...args.slice(i));
					break;
				}
			}
			if (this._passThroughOptions) {
				dest.push(arg, ...args.slice(i));
				break;
			}
			dest.push(arg);
		}
		return {
			operands,
			unknown
		};
	}
	/**
	* Return an object containing local option values as key-value pairs.
	*
	* @return {object}
	*/
	opts() {
		if (this._storeOptionsAsProperties) {
			const result = {};
			const len = this.options.length;
			for (let i = 0; i < len; i++) {
				const key = this.options[i].attributeName();
				result[key] = key === this._versionOptionName ? this._version : this[key];
			}
			return result;
		}
		return this._optionValues;
	}
	/**
	* Return an object containing merged local and global option values as key-value pairs.
	*
	* @return {object}
	*/
	optsWithGlobals() {
		return this._getCommandAndAncestors().reduce((combinedOptions, cmd) => Object.assign(combinedOptions, cmd.opts()), {});
	}
	/**
	* Display error message and exit (or call exitOverride).
	*
	* @param {string} message
	* @param {object} [errorOptions]
	* @param {string} [errorOptions.code] - an id string representing the error
	* @param {number} [errorOptions.exitCode] - used with process.exit
	*/
	error(message, errorOptions) {
		this._outputConfiguration.outputError(`${message}\n`, this._outputConfiguration.writeErr);
		if (typeof this._showHelpAfterError === "string") this._outputConfiguration.writeErr(`${this._showHelpAfterError}\n`);
		else if (this._showHelpAfterError) {
			this._outputConfiguration.writeErr("\n");
			this.outputHelp({ error: true });
		}
		const config = errorOptions || {};
		const exitCode = config.exitCode || 1;
		const code = config.code || "commander.error";
		this._exit(exitCode, code, message);
	}
	/**
	* Apply any option related environment variables, if option does
	* not have a value from cli or client code.
	*
	* @private
	*/
	_parseOptionsEnv() {
		this.options.forEach((option) => {
			if (option.envVar && option.envVar in process$1.env) {
				const optionKey = option.attributeName();
				if (this.getOptionValue(optionKey) === void 0 || [
					"default",
					"config",
					"env"
				].includes(this.getOptionValueSource(optionKey))) {
					if (option.required || option.optional) this.emit(`optionEnv:${option.name()}`, process$1.env[option.envVar]);
					else this.emit(`optionEnv:${option.name()}`);
				}
			}
		});
	}
	/**
	* Apply any implied option values, if option is undefined or default value.
	*
	* @private
	*/
	_parseOptionsImplied() {
		const dualHelper = new DualOptions(this.options);
		const hasCustomOptionValue = (optionKey) => {
			return this.getOptionValue(optionKey) !== void 0 && !["default", "implied"].includes(this.getOptionValueSource(optionKey));
		};
		this.options.filter((option) => option.implied !== void 0 && hasCustomOptionValue(option.attributeName()) && dualHelper.valueFromOption(this.getOptionValue(option.attributeName()), option)).forEach((option) => {
			Object.keys(option.implied).filter((impliedKey) => !hasCustomOptionValue(impliedKey)).forEach((impliedKey) => {
				this.setOptionValueWithSource(impliedKey, option.implied[impliedKey], "implied");
			});
		});
	}
	/**
	* Argument `name` is missing.
	*
	* @param {string} name
	* @private
	*/
	missingArgument(name) {
		const message = `error: missing required argument '${name}'`;
		this.error(message, { code: "commander.missingArgument" });
	}
	/**
	* `Option` is missing an argument.
	*
	* @param {Option} option
	* @private
	*/
	optionMissingArgument(option) {
		const message = `error: option '${option.flags}' argument missing`;
		this.error(message, { code: "commander.optionMissingArgument" });
	}
	/**
	* `Option` does not have a value, and is a mandatory option.
	*
	* @param {Option} option
	* @private
	*/
	missingMandatoryOptionValue(option) {
		const message = `error: required option '${option.flags}' not specified`;
		this.error(message, { code: "commander.missingMandatoryOptionValue" });
	}
	/**
	* `Option` conflicts with another option.
	*
	* @param {Option} option
	* @param {Option} conflictingOption
	* @private
	*/
	_conflictingOption(option, conflictingOption) {
		const findBestOptionFromValue = (option) => {
			const optionKey = option.attributeName();
			const optionValue = this.getOptionValue(optionKey);
			const negativeOption = this.options.find((target) => target.negate && optionKey === target.attributeName());
			const positiveOption = this.options.find((target) => !target.negate && optionKey === target.attributeName());
			if (negativeOption && (negativeOption.presetArg === void 0 && optionValue === false || negativeOption.presetArg !== void 0 && optionValue === negativeOption.presetArg)) return negativeOption;
			return positiveOption || option;
		};
		const getErrorMessage = (option) => {
			const bestOption = findBestOptionFromValue(option);
			const optionKey = bestOption.attributeName();
			if (this.getOptionValueSource(optionKey) === "env") return `environment variable '${bestOption.envVar}'`;
			return `option '${bestOption.flags}'`;
		};
		const message = `error: ${getErrorMessage(option)} cannot be used with ${getErrorMessage(conflictingOption)}`;
		this.error(message, { code: "commander.conflictingOption" });
	}
	/**
	* Unknown option `flag`.
	*
	* @param {string} flag
	* @private
	*/
	unknownOption(flag) {
		if (this._allowUnknownOption) return;
		let suggestion = "";
		if (flag.startsWith("--") && this._showSuggestionAfterError) {
			let candidateFlags = [];
			let command = this;
			do {
				const moreFlags = command.createHelp().visibleOptions(command).filter((option) => option.long).map((option) => option.long);
				candidateFlags = candidateFlags.concat(moreFlags);
				command = command.parent;
			} while (command && !command._enablePositionalOptions);
			suggestion = suggestSimilar(flag, candidateFlags);
		}
		const message = `error: unknown option '${flag}'${suggestion}`;
		this.error(message, { code: "commander.unknownOption" });
	}
	/**
	* Excess arguments, more than expected.
	*
	* @param {string[]} receivedArgs
	* @private
	*/
	_excessArguments(receivedArgs) {
		if (this._allowExcessArguments) return;
		const expected = this.registeredArguments.length;
		const s = expected === 1 ? "" : "s";
		const received = receivedArgs.length;
		const message = `error: too many arguments${this.parent ? ` for '${this.name()}'` : ""}. Expected ${expected} argument${s} but got ${received}: ${receivedArgs.join(", ")}.`;
		this.error(message, { code: "commander.excessArguments" });
	}
	/**
	* Unknown command.
	*
	* @private
	*/
	unknownCommand() {
		const unknownName = this.args[0];
		let suggestion = "";
		if (this._showSuggestionAfterError) {
			const candidateNames = [];
			this.createHelp().visibleCommands(this).forEach((command) => {
				candidateNames.push(command.name());
				if (command.alias()) candidateNames.push(command.alias());
			});
			suggestion = suggestSimilar(unknownName, candidateNames);
		}
		const message = `error: unknown command '${unknownName}'${suggestion}`;
		this.error(message, { code: "commander.unknownCommand" });
	}
	/**
	* Get or set the program version.
	*
	* This method auto-registers the "-V, --version" option which will print the version number.
	*
	* You can optionally supply the flags and description to override the defaults.
	*
	* @param {string} [str]
	* @param {string} [flags]
	* @param {string} [description]
	* @return {(this | string | undefined)} `this` command for chaining, or version string if no arguments
	*/
	version(str, flags, description) {
		if (str === void 0) return this._version;
		this._version = str;
		flags = flags || "-V, --version";
		description = description || "output the version number";
		const versionOption = this.createOption(flags, description);
		this._versionOptionName = versionOption.attributeName();
		this._registerOption(versionOption);
		this.on("option:" + versionOption.name(), () => {
			this._outputConfiguration.writeOut(`${str}\n`);
			this._exit(0, "commander.version", str);
		});
		return this;
	}
	/**
	* Set the description.
	*
	* @param {string} [str]
	* @param {object} [argsDescription]
	* @return {(string|Command)}
	*/
	description(str, argsDescription) {
		if (str === void 0 && argsDescription === void 0) return this._description;
		this._description = str;
		if (argsDescription) this._argsDescription = argsDescription;
		return this;
	}
	/**
	* Set the summary. Used when listed as subcommand of parent.
	*
	* @param {string} [str]
	* @return {(string|Command)}
	*/
	summary(str) {
		if (str === void 0) return this._summary;
		this._summary = str;
		return this;
	}
	/**
	* Set an alias for the command.
	*
	* You may call more than once to add multiple aliases. Only the first alias is shown in the auto-generated help.
	*
	* @param {string} [alias]
	* @return {(string|Command)}
	*/
	alias(alias) {
		if (alias === void 0) return this._aliases[0];
		/** @type {Command} */
		let command = this;
		if (this.commands.length !== 0 && this.commands[this.commands.length - 1]._executableHandler) command = this.commands[this.commands.length - 1];
		if (alias === command._name) throw new Error("Command alias can't be the same as its name");
		const matchingCommand = this.parent?._findCommand(alias);
		if (matchingCommand) {
			const existingCmd = [matchingCommand.name()].concat(matchingCommand.aliases()).join("|");
			throw new Error(`cannot add alias '${alias}' to command '${this.name()}' as already have command '${existingCmd}'`);
		}
		command._aliases.push(alias);
		return this;
	}
	/**
	* Set aliases for the command.
	*
	* Only the first alias is shown in the auto-generated help.
	*
	* @param {string[]} [aliases]
	* @return {(string[]|Command)}
	*/
	aliases(aliases) {
		if (aliases === void 0) return this._aliases;
		aliases.forEach((alias) => this.alias(alias));
		return this;
	}
	/**
	* Set / get the command usage `str`.
	*
	* @param {string} [str]
	* @return {(string|Command)}
	*/
	usage(str) {
		if (str === void 0) {
			if (this._usage) return this._usage;
			const args = this.registeredArguments.map((arg) => {
				return humanReadableArgName(arg);
			});
			return [].concat(this.options.length || this._helpOption !== null ? "[options]" : [], this.commands.length ? "[command]" : [], this.registeredArguments.length ? args : []).join(" ");
		}
		this._usage = str;
		return this;
	}
	/**
	* Get or set the name of the command.
	*
	* @param {string} [str]
	* @return {(string|Command)}
	*/
	name(str) {
		if (str === void 0) return this._name;
		this._name = str;
		return this;
	}
	/**
	* Set/get the help group heading for this subcommand in parent command's help.
	*
	* @param {string} [heading]
	* @return {Command | string}
	*/
	helpGroup(heading) {
		if (heading === void 0) return this._helpGroupHeading ?? "";
		this._helpGroupHeading = heading;
		return this;
	}
	/**
	* Set/get the default help group heading for subcommands added to this command.
	* (This does not override a group set directly on the subcommand using .helpGroup().)
	*
	* @example
	* program.commandsGroup('Development Commands:');
	* program.command('watch')...
	* program.command('lint')...
	* ...
	*
	* @param {string} [heading]
	* @returns {Command | string}
	*/
	commandsGroup(heading) {
		if (heading === void 0) return this._defaultCommandGroup ?? "";
		this._defaultCommandGroup = heading;
		return this;
	}
	/**
	* Set/get the default help group heading for options added to this command.
	* (This does not override a group set directly on the option using .helpGroup().)
	*
	* @example
	* program
	*   .optionsGroup('Development Options:')
	*   .option('-d, --debug', 'output extra debugging')
	*   .option('-p, --profile', 'output profiling information')
	*
	* @param {string} [heading]
	* @returns {Command | string}
	*/
	optionsGroup(heading) {
		if (heading === void 0) return this._defaultOptionGroup ?? "";
		this._defaultOptionGroup = heading;
		return this;
	}
	/**
	* @param {Option} option
	* @private
	*/
	_initOptionGroup(option) {
		if (this._defaultOptionGroup && !option.helpGroupHeading) option.helpGroup(this._defaultOptionGroup);
	}
	/**
	* @param {Command} cmd
	* @private
	*/
	_initCommandGroup(cmd) {
		if (this._defaultCommandGroup && !cmd.helpGroup()) cmd.helpGroup(this._defaultCommandGroup);
	}
	/**
	* Set the name of the command from script filename, such as process.argv[1],
	* or import.meta.filename.
	*
	* (Used internally and public although not documented in README.)
	*
	* @example
	* program.nameFromFilename(import.meta.filename);
	*
	* @param {string} filename
	* @return {Command}
	*/
	nameFromFilename(filename) {
		this._name = path.basename(filename, path.extname(filename));
		return this;
	}
	/**
	* Get or set the directory for searching for executable subcommands of this command.
	*
	* @example
	* program.executableDir(import.meta.dirname);
	* // or
	* program.executableDir('subcommands');
	*
	* @param {string} [path]
	* @return {(string|null|Command)}
	*/
	executableDir(path) {
		if (path === void 0) return this._executableDir;
		this._executableDir = path;
		return this;
	}
	/**
	* Return program help documentation.
	*
	* @param {{ error: boolean }} [contextOptions] - pass {error:true} to wrap for stderr instead of stdout
	* @return {string}
	*/
	helpInformation(contextOptions) {
		const helper = this.createHelp();
		const context = this._getOutputContext(contextOptions);
		helper.prepareContext({
			error: context.error,
			helpWidth: context.helpWidth,
			outputHasColors: context.hasColors
		});
		const text = helper.formatHelp(this, helper);
		if (context.hasColors) return text;
		return this._outputConfiguration.stripColor(text);
	}
	/**
	* @typedef HelpContext
	* @type {object}
	* @property {boolean} error
	* @property {number} helpWidth
	* @property {boolean} hasColors
	* @property {function} write - includes stripColor if needed
	*
	* @returns {HelpContext}
	* @private
	*/
	_getOutputContext(contextOptions) {
		contextOptions = contextOptions || {};
		const error = !!contextOptions.error;
		let baseWrite;
		let hasColors;
		let helpWidth;
		if (error) {
			baseWrite = (str) => this._outputConfiguration.writeErr(str);
			hasColors = this._outputConfiguration.getErrHasColors();
			helpWidth = this._outputConfiguration.getErrHelpWidth();
		} else {
			baseWrite = (str) => this._outputConfiguration.writeOut(str);
			hasColors = this._outputConfiguration.getOutHasColors();
			helpWidth = this._outputConfiguration.getOutHelpWidth();
		}
		const write = (str) => {
			if (!hasColors) str = this._outputConfiguration.stripColor(str);
			return baseWrite(str);
		};
		return {
			error,
			write,
			hasColors,
			helpWidth
		};
	}
	/**
	* Output help information for this command.
	*
	* Outputs built-in help, and custom text added using `.addHelpText()`.
	*
	* @param {{ error: boolean } | Function} [contextOptions] - pass {error:true} to write to stderr instead of stdout
	*/
	outputHelp(contextOptions) {
		let deprecatedCallback;
		if (typeof contextOptions === "function") {
			deprecatedCallback = contextOptions;
			contextOptions = void 0;
		}
		const outputContext = this._getOutputContext(contextOptions);
		/** @type {HelpTextEventContext} */
		const eventContext = {
			error: outputContext.error,
			write: outputContext.write,
			command: this
		};
		this._getCommandAndAncestors().reverse().forEach((command) => command.emit("beforeAllHelp", eventContext));
		this.emit("beforeHelp", eventContext);
		let helpInformation = this.helpInformation({ error: outputContext.error });
		if (deprecatedCallback) {
			helpInformation = deprecatedCallback(helpInformation);
			if (typeof helpInformation !== "string" && !Buffer.isBuffer(helpInformation)) throw new Error("outputHelp callback must return a string or a Buffer");
		}
		outputContext.write(helpInformation);
		if (this._getHelpOption()?.long) this.emit(this._getHelpOption().long);
		this.emit("afterHelp", eventContext);
		this._getCommandAndAncestors().forEach((command) => command.emit("afterAllHelp", eventContext));
	}
	/**
	* You can pass in flags and a description to customise the built-in help option.
	* Pass in false to disable the built-in help option.
	*
	* @example
	* program.helpOption('-?, --help', 'show help'); // customise
	* program.helpOption(false); // disable
	*
	* @param {(string | boolean)} flags
	* @param {string} [description]
	* @return {Command} `this` command for chaining
	*/
	helpOption(flags, description) {
		if (typeof flags === "boolean") {
			if (flags) {
				if (this._helpOption === null) this._helpOption = void 0;
				if (this._defaultOptionGroup) this._initOptionGroup(this._getHelpOption());
			} else this._helpOption = null;
			return this;
		}
		this._helpOption = this.createOption(flags ?? "-h, --help", description ?? "display help for command");
		if (flags || description) this._initOptionGroup(this._helpOption);
		return this;
	}
	/**
	* Lazy create help option.
	* Returns null if has been disabled with .helpOption(false).
	*
	* @returns {(Option | null)} the help option
	* @package
	*/
	_getHelpOption() {
		if (this._helpOption === void 0) this.helpOption(void 0, void 0);
		return this._helpOption;
	}
	/**
	* Supply your own option to use for the built-in help option.
	* This is an alternative to using helpOption() to customise the flags and description etc.
	*
	* @param {Option} option
	* @return {Command} `this` command for chaining
	*/
	addHelpOption(option) {
		this._helpOption = option;
		this._initOptionGroup(option);
		return this;
	}
	/**
	* Output help information and exit.
	*
	* Outputs built-in help, and custom text added using `.addHelpText()`.
	*
	* @param {{ error: boolean }} [contextOptions] - pass {error:true} to write to stderr instead of stdout
	*/
	help(contextOptions) {
		this.outputHelp(contextOptions);
		let exitCode = Number(process$1.exitCode ?? 0);
		if (exitCode === 0 && contextOptions && typeof contextOptions !== "function" && contextOptions.error) exitCode = 1;
		this._exit(exitCode, "commander.help", "(outputHelp)");
	}
	/**
	* // Do a little typing to coordinate emit and listener for the help text events.
	* @typedef HelpTextEventContext
	* @type {object}
	* @property {boolean} error
	* @property {Command} command
	* @property {function} write
	*/
	/**
	* Add additional text to be displayed with the built-in help.
	*
	* Position is 'before' or 'after' to affect just this command,
	* and 'beforeAll' or 'afterAll' to affect this command and all its subcommands.
	*
	* @param {string} position - before or after built-in help
	* @param {(string | Function)} text - string to add, or a function returning a string
	* @return {Command} `this` command for chaining
	*/
	addHelpText(position, text) {
		const allowedValues = [
			"beforeAll",
			"before",
			"after",
			"afterAll"
		];
		if (!allowedValues.includes(position)) throw new Error(`Unexpected value for position to addHelpText.
Expecting one of '${allowedValues.join("', '")}'`);
		const helpEvent = `${position}Help`;
		this.on(helpEvent, (context) => {
			let helpStr;
			if (typeof text === "function") helpStr = text({
				error: context.error,
				command: context.command
			});
			else helpStr = text;
			if (helpStr) context.write(`${helpStr}\n`);
		});
		return this;
	}
	/**
	* Output help information if help flags specified
	*
	* @param {Array} args - array of options to search for help flags
	* @private
	*/
	_outputHelpIfRequested(args) {
		const helpOption = this._getHelpOption();
		if (helpOption && args.find((arg) => helpOption.is(arg))) {
			this.outputHelp();
			this._exit(0, "commander.helpDisplayed", "(outputHelp)");
		}
	}
};
/**
* Scan arguments and increment port number for inspect calls (to avoid conflicts when spawning new command).
*
* @param {string[]} args - array of arguments from node.execArgv
* @returns {string[]}
* @private
*/
function incrementNodeInspectorPort(args) {
	return args.map((arg) => {
		if (!arg.startsWith("--inspect")) return arg;
		let debugOption;
		let debugHost = "127.0.0.1";
		let debugPort = "9229";
		let match;
		if ((match = arg.match(/^(--inspect(-brk|-wait)?)$/)) !== null) debugOption = match[1];
		else if ((match = arg.match(/^(--inspect(-brk|-port|-wait)?)=(\[[^\]]+\]|[^:]+)$/)) !== null) {
			debugOption = match[1];
			if (/^\d+$/.test(match[3])) debugPort = match[3];
			else debugHost = match[3];
		} else if ((match = arg.match(/^(--inspect(-brk|-port|-wait)?)=(\[[^\]]+\]|[^:]+):(\d+)$/)) !== null) {
			debugOption = match[1];
			debugHost = match[3];
			debugPort = match[4];
		}
		if (debugOption && debugPort !== "0") return `${debugOption}=${debugHost}:${parseInt(debugPort) + 1}`;
		return arg;
	});
}
/**
* Exported for using from tests, not otherwise used outside this file.
*
* @returns {boolean | undefined}
* @package
*/
function useColor() {
	if (process$1.env.NO_COLOR || process$1.env.FORCE_COLOR === "0" || process$1.env.FORCE_COLOR === "false") return false;
	if (process$1.env.FORCE_COLOR || process$1.env.CLICOLOR_FORCE !== void 0) return true;
}
new Command();
// src/cli/pairs.ts
/** An option that takes two values each time, which commander has no form for: it is given one, and the next by `withPairs`. */
function pair(flags, description) {
	const [long = "", ...names] = flags.split(" ");
	return new Option(`${long} <pair>`, `${description}: ${names.join(" ")}`).default([], "none").argParser((value, before) => {
		const [name = "", second] = value.split(PAIR);
		if (second === void 0) throw new InvalidArgumentError(`it takes two values: ${names.join(" ")}`);
		return [...before, [name, second]];
	});
}
const PAIR = "\0";
const PAIRED = ["--override-input", "--option"];
/** Joins the two values behind each of PAIRED into one argument. */
function withPairs(args) {
	const joined = [];
	for (let i = 0; i < args.length; i++) {
		const arg = args[i] ?? "";
		const [name, value] = [args[i + 1], args[i + 2]];
		if (PAIRED.includes(arg) && name !== void 0 && value !== void 0) {
			joined.push(arg, name + PAIR + value);
			i += 2;
		} else joined.push(arg);
	}
	return joined;
}
// src/commands/diff/nothing.ts
/** What is told of a host before it is compared with anything. */
function nothing({ host, ...now }) {
	return {
		name: host.name,
		status: now.ok ? "unchanged" : "failed",
		from: null,
		to: now.ok ? now.toplevel : null,
		sequence: null,
		lastContact: null,
		packages: null,
		size: null,
		reason: null,
		error: now.ok ? null : now.failure
	};
}
// src/nix/closure.ts
/** Paths whose sizes are asked for at once; a command line has no room for more than some thousands. */
const AT_ONCE$1 = 1e3;
/** The closure of a path that is in this machine's store; null where it isn't. */
async function localClosure(nix, storePath) {
	if (!existsSync(storePath)) return null;
	const found = await nix.run("nix-store", [
		"--query",
		"--requisites",
		storePath
	]);
	if (found.status !== 0) return null;
	const paths = found.stdout.split("\n").filter((line) => line !== "");
	let bytes = 0;
	for (let from = 0; from < paths.length; from += AT_ONCE$1) {
		const sizes = await nix.run("nix-store", [
			"--query",
			"--size",
			...paths.slice(from, from + AT_ONCE$1)
		]);
		if (sizes.status !== 0) return null;
		bytes += sizes.stdout.split("\n").reduce((sum, line) => sum + Number(line), 0);
	}
	return {
		paths,
		bytes
	};
}
/**
* The closure of a path that a substituter has, of which nothing is fetched but what it says of itself; null where none of them
* has all of it, or none answers within `timeout` milliseconds each.
*/
async function cachedClosure(nix, storePath, substituters, timeout) {
	for (const url of substituters) {
		const args = [
			"path-info",
			"--recursive",
			"--size",
			"--store",
			url,
			storePath
		];
		const run = await nix.run("nix", args, {
			timeout,
			maxOutput: 16 * 1024 ** 2
		});
		const closure = run.status === 0 && !run.overflowed ? parsePathInfo(run.stdout) : null;
		if (closure !== null) return closure;
	}
	return null;
}
/** Reads `path size`, one a line, with blanks between; null for anything else. */
function parsePathInfo(text) {
	const paths = [];
	let bytes = 0;
	for (const line of text.split("\n")) {
		if (line.trim() === "") continue;
		const [, path, size] = /^(\/\S+)\s+(\d{1,15})$/.exec(line) ?? [];
		if (path === void 0) return null;
		paths.push(path);
		bytes += Number(size);
	}
	return paths.length === 0 ? null : {
		paths,
		bytes
	};
}
// src/commands/diff/running.ts
/** Milliseconds for what one substituter says of one closure. */
const CACHE_TIMEOUT = 3e4;
/**
* Compares what hosts say that they run with what was evaluated of them: in this store, else by what it takes to build both, else by
* what substituters say.
*/
async function againstRunning(around, evaluated, statuses) {
	const { nix } = around.evaluator;
	const results = /* @__PURE__ */ new Map();
	const byCommit = /* @__PURE__ */ new Map();
	await parallel(evaluated, 4, async (now) => {
		const said = statuses.get(now.host.name);
		const running = said?.running?.toplevel ?? null;
		const result = {
			...nothing(now),
			from: running,
			sequence: said?.running?.sequence ?? null,
			lastContact: said?.lastContact ?? null
		};
		results.set(now, result);
		if (!now.ok || running === now.toplevel) return;
		if (running === null) {
			results.set(now, {
				...result,
				status: "skipped",
				reason: said?.reason ?? "it hasn't said yet what it runs"
			});
			return;
		}
		if (!storePath.safeParse(running).success || path.dirname(running) !== path.dirname(now.toplevel)) {
			results.set(now, failed$1(result, "what it says that it runs is no system in this store's directory"));
			return;
		}
		const [from, to] = [await localClosure(nix, running), await localClosure(nix, now.toplevel)];
		if (from !== null && to !== null) results.set(now, {
			...result,
			...closureDifference(from, to)
		});
		else if (said?.published && said.published.toplevel === running) {
			const { commit } = said.published;
			byCommit.set(commit, [...byCommit.get(commit) ?? [], now]);
			results.set(now, {
				...result,
				status: "changed"
			});
		} else results.set(now, await fromCaches(around, result, now.toplevel, from, to));
	});
	for (const [commit, those] of byCommit) await ofCommit(around, commit, those, results);
	return evaluated.flatMap((now) => results.get(now) ?? []);
}
/** Of hosts that run what was published of a commit: by what it takes to build the systems. */
async function ofCommit(around, commit, those, results) {
	const { evaluator, open } = around;
	const compared = await open.repository.commitOf(commit).then(() => true, () => false) ? await compareWith(evaluator, open, commit, those) : [];
	for (const [index, now] of those.entries()) {
		const result = results.get(now);
		if (result === void 0 || !now.ok) continue;
		const comparison = compared[index];
		if (comparison?.now.ok && comparison.before?.toplevel === result.from) {
			const packages = await packageChanges(evaluator.nix, comparison.before.drv, comparison.now.drv);
			results.set(now, {
				...result,
				status: "changed",
				packages
			});
		} else {
			const [from, to] = [await localClosure(evaluator.nix, result.from ?? ""), await localClosure(evaluator.nix, now.toplevel)];
			results.set(now, await fromCaches(around, result, now.toplevel, from, to));
		}
	}
}
/** By what substituters say of what isn't here. */
async function fromCaches({ evaluator: { nix, context }, substituters }, result, toplevel, fromHere, toHere) {
	const running = result.from ?? "";
	if (substituters.length > 0) context.output.progress(`asking ${substituters.join(", ")} for ${running}`);
	const from = fromHere ?? await cachedClosure(nix, running, substituters, CACHE_TIMEOUT);
	const where = substituters.length === 0 ? "" : ` nor in ${substituters.join(" or ")}`;
	if (from === null) return failed$1(result, `what it runs, ${running}, isn't in this store${where}, and isn't what a commit of this clone is known to make`, "bento diff --base REF compares with a commit; git fetch --unshallow, where this clone lacks some");
	const to = toHere ?? await cachedClosure(nix, toplevel, substituters, CACHE_TIMEOUT);
	if (to === null) return failed$1(result, `what would be deployed, ${toplevel}, isn't built: not in this store${where}`, "bento build");
	return {
		...result,
		...closureDifference(from, to)
	};
}
function closureDifference(from, to) {
	const [before, after] = [from, to].map(({ paths }) => parsePackages(paths.join("\n")));
	if (before === void 0 || after === void 0) throw new Error("two of two are there");
	return {
		status: "changed",
		packages: difference$1(before, after),
		size: {
			from: from.bytes,
			to: to.bytes
		}
	};
}
function failed$1(result, message, hint) {
	return {
		...result,
		status: "failed",
		error: hint === void 0 ? { message } : {
			message,
			hint
		}
	};
}
// src/commands/diff.ts
/**
* Says which packages of hosts would be others than those that they run, by their heartbeats, if what the repository has were
* deployed; with `base`, others than at that commit.
* @throws FleetError, UnavailableError; what can't be told of a single host is in its result.
*/
async function diff(context, options) {
	try {
		var _usingCtx$6 = _usingCtx();
		const loaded = await loadFleet(options.fleet);
		if (options.base === null && loaded.server === null) throw new FleetError("without a server there is nobody to ask what hosts run", { hint: "--base REF compares with what the repository had at a commit" });
		const open = _usingCtx$6.a(await openFleet(loaded, options));
		const commit = options.base === null ? null : await open.repository.commitOf(options.base);
		const nix = await Nix.find(options.nix, context.signal);
		const memory = openMemory(context.env);
		const evaluator = {
			context,
			nix,
			stager: open.stager,
			memory,
			derivations: true,
			limits: options
		};
		const fleet = await withFlakeHosts(open.fleet, evaluator);
		const all = options.base === null ? fleet.hosts.filter(({ declared }) => declared) : fleet.hosts;
		const hosts = selectHosts(all, options.hosts);
		const names = hosts.map(({ name }) => name);
		const said = commit === null ? await status(context, {
			fleet: options.fleet,
			hosts: names,
			failOn: null,
			attempts: null
		}) : null;
		const statuses = new Map(said?.hosts.map((host) => [host.name, host]));
		const evaluated = await evaluateFleet(evaluator, hosts);
		const found = commit === null ? await againstRunning({
			evaluator,
			open,
			substituters: loaded.substituters.map(({ url }) => url)
		}, evaluated, statuses) : await againstCommit(evaluator, open, commit, evaluated);
		context.output.done();
		return {
			version: 1,
			command: "diff",
			base: options.base,
			warnings: [...open.warnings, ...fleet.warnings],
			hosts: found
		};
	} catch (_) {
		_usingCtx$6.e = _;
	} finally {
		await _usingCtx$6.d();
	}
}
/** By what it takes to build the systems. */
async function againstCommit(evaluator, open, commit, evaluated) {
	const compared = await compareWith(evaluator, open, commit, evaluated);
	return parallel(compared, 4, async ({ now, before }) => {
		const result = nothing(now);
		if (!now.ok) return result;
		if (before === null) return {
			...result,
			status: "changed",
			reason: "there was no such host, or it could not be evaluated"
		};
		const found = {
			...result,
			from: before.toplevel
		};
		if (before.toplevel === now.toplevel) return found;
		const packages = await packageChanges(evaluator.nix, before.drv, now.drv);
		return {
			...found,
			status: "changed",
			packages
		};
	});
}
// src/render/diff.ts
const MARKS = {
	changed: ["~", "cyan"],
	unchanged: ["·", "dim"],
	skipped: ["-", "dim"],
	failed: ["✗", "red"]
};
function renderDiff(document, paint, verbose) {
	const lines = table(document.hosts.map((host) => {
		const [mark, style] = MARKS[host.status];
		return [
			paint(style, mark),
			host.name,
			paint(style, host.status),
			detail(host)
		];
	})).flatMap((line, index) => {
		const host = document.hosts[index];
		if (host === void 0) return [line];
		const error = host.error === null ? [] : failureLines(host.error, paint, verbose);
		return [line, ...[...table(packageRows(host, paint)), ...error].map((text) => `    ${text}`)];
	});
	const base = document.base === null ? "what runs" : baseText(document.base);
	const statuses = document.hosts.map(({ status }) => status);
	return [
		...lines,
		...warnings(document.warnings, paint),
		"",
		`${tally(statuses, [
			"failed",
			"changed",
			"unchanged",
			"skipped"
		])} (compared with ${base})`
	].join("\n");
}
function packageRows({ packages }, paint) {
	return (packages ?? []).map(({ name, from, to }) => [
		inertLine(name),
		from === null ? paint("green", "new") : inertLine(from),
		"→",
		to === null ? paint("red", "gone") : inertLine(to)
	]);
}
function detail({ status, packages, size: sizes, reason }) {
	const parts = [reason === null ? "" : inertLine(reason)];
	if (status === "changed" && packages?.length === 0) parts.push("no package changes its version");
	if (sizes !== null) {
		const change = sizes.to - sizes.from;
		parts.push(`${size(sizes.from)} → ${size(sizes.to)} (${change < 0 ? "-" : "+"}${size(Math.abs(change))})`);
	}
	return parts.filter((text) => text !== "").join("; ");
}
// src/cli/options.ts
function common(command) {
	return command.exitOverride().option("--fleet <directory>", "the fleet (default: the nearest parent with a fleet.yaml or hosts/)").option("--json", "print one JSON document").option("--verbose", "say more").option("--no-color", "no colours");
}
function withHosts(command) {
	return command.option("--hosts <globs>", "only these hosts: names or globs, with commas between").option("--group <names>", "only hosts of these groups, with commas between");
}
function withIdentity(command) {
	return command.option("-i, --identity <file>", "the private key to decrypt with (default: ~/.ssh/id_ed25519, ~/.ssh/id_rsa; can be repeated)", append, []);
}
function withNix(command) {
	return command.addOption(pair("--override-input <name> <url>", "for flakes, as Nix takes it (can be repeated)")).addOption(pair("--option <name> <value>", "a setting of Nix's (can be repeated)")).option("-I, --include <path>", "for hosts without flakes, as Nix takes it (can be repeated)", append, []).option("--timeout <seconds>", "for one host's evaluation", wholeNumber, DEFAULT_TIMEOUT / 1e3);
}
/** What is checked or built, and what it is compared with. */
function withBase(command) {
	return command.option("--base <ref>", "say what changes compared with this commit").option("--shard <i/n>", "only the i-th of n parts of the hosts: see bento plan").option("--dirty", "take in what git doesn't track", false);
}
/** For commands that go to hosts. */
function withSsh(command) {
	return command.option("-F, --ssh-config <file>", "ssh's configuration, such as bento ssh-config makes (default: your own)").option("--patience <duration>", "how long to try to reach a host again whose connection broke, such as 90s, 30m or 1h", "15m");
}
function nixOptions({ overrideInput, option, include, timeout }) {
	return {
		nix: {
			overrideInputs: overrideInput,
			options: option,
			searchPath: include
		},
		timeout: timeout * 1e3
	};
}
function checkOptions({ base, shard, dirty }) {
	return {
		base: base ?? null,
		shard: shard === void 0 ? null : parseShard(shard),
		dirty
	};
}
function append(value, before) {
	return [...before, value];
}
function wholeNumber(value) {
	if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError("it must be a whole number.");
	return Number(value);
}
/** `{ [key]: value }`, or nothing when there is no value. */
function given(key, value) {
	return value === void 0 ? {} : { [key]: value };
}
// src/platform/output.ts
/** Writes to stderr: a live progress line on a terminal, and plain lines elsewhere. */
function terminalOutput({ verbose, stream = process.stderr }) {
	let live = false;
	const clear = () => {
		if (live) stream.write("\r\x1B[K");
		live = false;
	};
	const line = (text) => {
		clear();
		stream.write(`${inert(text)}\n`);
	};
	return {
		info: line,
		debug: (text) => {
			if (verbose) line(text);
		},
		warning: (text) => line(`warning: ${text}`),
		progress: (text) => {
			if (!stream.isTTY) return;
			stream.write(`\r\x1b[K${inert(text).slice(0, Math.max(20, (stream.columns || 80) - 1))}`);
			live = true;
		},
		done: clear,
		group: (title) => {
			const say = (text) => {
				if (verbose || !stream.isTTY) line(text);
			};
			say(title);
			return {
				line: say,
				end: () => {}
			};
		},
		folded: () => {}
	};
}
// src/cli/session.ts
function session(options) {
	const verbose = options.verbose === true;
	const env = { ...process.env };
	for (const name of SECRETS) delete process.env[name];
	const group = typeof options.group === "string" ? options.group : void 0;
	return {
		context: {
			output: terminalOutput({ verbose }),
			signal: onInterrupt(),
			env,
			cwd: process.cwd()
		},
		options,
		paint: painterFor(process.stdout, options),
		verbose,
		fleet: () => options.fleet === void 0 ? findFleet(process.cwd()) : path.resolve(options.fleet),
		hosts: [...splitPatterns(options.hosts ?? (group === void 0 ? env.NAME : void 0)), ...splitPatterns(group).map((group) => `@${group}`)]
	};
}
/** Colours are for a terminal, and for somebody who doesn't mind them. */
function painterFor(stream, { color }) {
	return painter(color && !process.env.NO_COLOR && stream.isTTY === true);
}
/** Runs a command, prints its document, and sets the exit status; the one place where errors are printed. */
async function show$1(options, work, text) {
	const run = session(options);
	try {
		const document = await work(run);
		run.context.output.done();
		const printed = options.json === true ? JSON.stringify(document, null, 2) : text(document, run);
		process.stdout.write(printed === "" || printed.endsWith("\n") ? printed : `${printed}\n`);
		process.exitCode = exitStatus(document);
	} catch (thrown) {
		run.context.output.done();
		const error = machineError(thrown);
		process.stderr.write(`${describeError(error, painterFor(process.stderr, options))}\n`);
		process.exitCode = error instanceof BentoError ? error.exitStatus : 70;
	}
}
// src/cli/changes.ts
/** Which versions hosts would get. */
function addChangeCommands(bento) {
	withNix(common(bento.command("diff [host...]"))).description("say which packages would be others than those that hosts run, if this commit were deployed").option("--base <ref>", "compare with this commit, rather than with what hosts run").option("--dirty", "take in what git doesn't track", false).action((hosts, options) => show$1(options, ({ context, fleet }) => diff(context, {
		fleet: fleet(),
		hosts: hosts.flatMap(splitPatterns),
		base: options.base ?? null,
		dirty: options.dirty,
		...nixOptions(options)
	}), (document, { paint, verbose }) => renderDiff(document, paint, verbose)));
	withNix(withHosts(common(bento.command("flake-update [inputs...]")))).description("bring the locks of the fleet's flakes up to date, and say what moved").option("--dry-run", "say what would move, and write nothing", false).option("--markdown", "print it as markdown, for a pull request", false).action((inputs, options) => show$1(options, ({ context, fleet, hosts }) => flakeUpdate(context, {
		fleet: fleet(),
		hosts,
		inputs,
		dryRun: options.dryRun,
		...nixOptions(options)
	}), (document, { paint, verbose }) => options.markdown === true ? flakeUpdateMarkdown(document) : renderFlakeUpdate(document, paint, verbose)));
}
// src/cli/check.ts
/** What is evaluated and built, on one machine or several. */
function addCheckCommands(bento) {
	withBase(withNix(withHosts(common(bento.command("check"))))).description("dry-build every host: evaluate it, and say what would be built and fetched").action((options) => show$1(options, ({ context, fleet, hosts }) => check(context, {
		fleet: fleet(),
		hosts,
		...checkOptions(options),
		...nixOptions(options)
	}), (document, { paint, verbose }) => renderCheck(document, paint, verbose)));
	withNix(withHosts(common(bento.command("plan")))).description("divide the hosts: among several machines, for check --shard, and in time, for deploy --wave").option("--shards <number>", "among how many machines, at most", wholeNumber).action((options) => show$1(options, ({ context, fleet, hosts }) => plan(context, {
		fleet: fleet(),
		hosts,
		shards: options.shards ?? null,
		dirty: false,
		...nixOptions(options)
	}), (document, { paint }) => renderPlan(document, paint)));
	common(bento.command("report <files...>")).description("show the documents of check --shard --json as one").action((files, options) => show$1(options, ({ context }) => report(context, { files }), (document, { paint, verbose }) => renderCheck(document, paint, verbose)));
	withBase(withNix(withHosts(common(bento.command("build"))))).description("build every host, and keep the results alive").option("--roots <directory>", "where the gc roots are (default: below $XDG_STATE_HOME/bento/roots)").option("--sign-key <file>", "sign what was built with this key of the cache's (default: BENTO_CACHE_KEY)").option("--push [url]", "copy it to this Nix store (default: cache.push of fleet.yaml)").option("--prune", "of each host, keep only the last three systems and the one that it runs", false).option("--logs <directory>", "where the logs of failed builds are put (default: $XDG_STATE_HOME/bento/logs)").action((options) => show$1(options, ({ context, fleet, hosts }) => build(context, {
		fleet: fleet(),
		hosts,
		...checkOptions(options),
		roots: options.roots === void 0 ? null : path.resolve(options.roots),
		signKey: options.signKey === void 0 ? null : path.resolve(options.signKey),
		push: options.push ?? null,
		prune: options.prune,
		logs: options.logs === void 0 ? null : path.resolve(options.logs),
		...nixOptions(options)
	}), (document, { paint }) => renderCheck(document, paint, true)));
}
// src/release/rollback.ts
/** A sequence is milliseconds since 1970, and so are no other numbers that anybody would write here. */
function parseWanted(to) {
	if (to === null) return null;
	return /^\d{12,15}$/.test(to) ? { sequence: Number(to) } : { commit: to };
}
/**
* The earlier release that is wanted, of those that are known; undefined when it isn't among them. `commit` may be the beginning
* of a commit's name; of several releases of one commit it is the newest. The release before is the newest that is another than
* the current one: a host that was rolled back and forth gets something else each time.
*/
function chooseEarlier(current, earlier, wanted) {
	const newestFirst = [...earlier].sort((a, b) => b.sequence - a.sequence);
	if (wanted === null) return newestFirst.find((one) => one.sequence < current.sequence && !isSameRelease(current, one));
	if ("sequence" in wanted) return newestFirst.find(({ sequence }) => sequence === wanted.sequence);
	if (!/^[0-9a-f]{7,40}$/.test(wanted.commit)) return void 0;
	return newestFirst.find(({ commit }) => commit.startsWith(wanted.commit));
}
// src/commands/one-host.ts
/** @throws FleetError when there is no such host, several are meant, or it can't have any release. */
function oneHost(hosts, name) {
	const selected = selectHosts(hosts.filter((host) => host.declared), [name]);
	const [host] = selected;
	if (host === void 0 || selected.length > 1) throw new FleetError(`'${name}' names ${selected.length} hosts, and has to be one`);
	if (host.key === null) throw new FleetError(`${name} has no key in fleet.yaml yet, and was never published`);
	return host;
}
// src/commands/rollback.ts
/**
* Publishes what a host had before as a new release: hosts take nothing whose sequence isn't higher. Its content comes from the
* repository, at the commit that it was of, or, where that commit isn't in this clone, from the archive that is still on the
* server; nothing is evaluated then, since the system was known. A commit that was never published for the host is evaluated.
* @throws FleetError, UnavailableError.
*/
async function rollback(context, options) {
	try {
		var _usingCtx$5 = _usingCtx();
		const opened = _usingCtx$5.a(await openFleet(await loadRenderedFleet(options.fleet), { dirty: false }));
		const { signers } = opened.fleet;
		const host = oneHost(opened.fleet.hosts, options.host);
		const ways = _usingCtx$5.a(await waysOut(context, opened.fleet));
		const [signingSource] = keysFromEnvironment(context.env, SIGNING_KEY);
		const signingKey = _usingCtx$5.a(await openPrivateKey(signingSource, describeKey(SIGNING_KEY)));
		requireSigner(signingKey, signers);
		const publishers = _usingCtx$5.a(await Publishers.open(ways.list));
		const current = await publishers.read([host.name], options.dryRun ? null : lockFor(context, options));
		const document = {
			version: 1,
			command: "rollback",
			dryRun: options.dryRun,
			warnings: []
		};
		const states = [...(await openAll(current(host.name), host.name, signers)).values()];
		const unknown = states.find((state) => state.state === "unknown");
		if (unknown !== void 0) return {
			...document,
			warnings: [],
			hosts: [failed$2(host, unknown.error)]
		};
		const [newest] = states.flatMap((state) => state.state === "present" ? [state.manifest] : []).sort((a, b) => b.sequence - a.sequence);
		if (newest === void 0) throw new FleetError(`nothing that can be trusted is published for ${host.name}: there is nothing to go back from`, { hint: "bento deploy publishes what the repository has" });
		const earlier = await manifestsOf(await publishers.readHistory(host.name), host, signers);
		const work = _usingCtx$5.a(await temporaryDirectory());
		const wanted = parseWanted(options.to);
		const chosen = chooseEarlier(newest, [newest, ...earlier], await resolved(opened, wanted));
		const step = chosen === void 0 ? await neverPublished(context, opened, host, wanted, options, work.path) : await again(opened, publishers, host, chosen, work.path);
		if ("result" in step) return {
			...document,
			warnings: [],
			hosts: [step.result]
		};
		if (isSameRelease(newest, step.value.candidate)) return {
			...document,
			warnings: [],
			hosts: [unchanged(host, newest)]
		};
		const manifest = nextManifest(step.value.candidate, newest, Date.now());
		const warnings = [`the next deploy gives ${host.name} what the repository has then: revert it there as well`];
		if (options.dryRun) return {
			...document,
			warnings,
			hosts: [published(manifest, null)]
		};
		const value = {
			manifest,
			envelope: null,
			packed: step.value.packed,
			to: publishers.names,
			unread: null
		};
		const due = {
			host,
			value: { make: async () => ({
				host,
				value
			}) }
		};
		return {
			...document,
			warnings,
			hosts: await signAndPublish(context, publishers, signingKey, [due])
		};
	} catch (_) {
		_usingCtx$5.e = _;
	} finally {
		await _usingCtx$5.d();
	}
}
/** Those of foreign envelopes that are really this host's. */
async function manifestsOf(envelopes, host, signers) {
	return (await Promise.all(envelopes.map((envelope) => open$1(envelope, host.name, signers)))).flatMap((one) => one.ok ? [one.manifest] : []);
}
/** A ref's commit by its whole name, as manifests have it, where this clone knows it. */
async function resolved({ repository }, wanted) {
	if (wanted === null || "sequence" in wanted) return wanted;
	return { commit: await repository.commitOf(wanted.commit).catch(() => wanted.commit) };
}
/** An earlier release, with its content found again. */
async function again(opened, publishers, host, manifest, work) {
	const { sequence: _, issued: __, history: ___, version: ____, ...candidate } = manifest;
	const staged = await stagedAgain(opened, host, manifest, work);
	if (staged !== void 0) return {
		host,
		value: {
			packed: staged.packed,
			candidate: {
				...candidate,
				archive: staged.candidate.archive
			}
		}
	};
	const { archive, digest } = manifest;
	if (archive === null) return {
		host,
		value: {
			packed: null,
			candidate
		}
	};
	const file = path.join(work, "archive");
	if (await publishers.fetchArchive(host.name, archive, file)) {
		if (await sha256Of(file) !== archive.sha256) return {
			host,
			result: failed$2(host, { message: `the archive of release ${manifest.sequence} is damaged on the server` })
		};
		return {
			host,
			value: {
				packed: {
					...archive,
					digest,
					file
				},
				candidate
			}
		};
	}
	const message = `release ${manifest.sequence} can't be had any more: commit ${manifest.commit.slice(0, 12)} is not in this clone, or makes something else now, and its archive is gone from the server`;
	return {
		host,
		result: failed$2(host, {
			message,
			hint: "fetch the whole history (git fetch --unshallow)"
		})
	};
}
/** The release as it is made of the commit that it was of; undefined when the commit isn't here or makes another. */
async function stagedAgain(opened, host, { commit, digest }, work) {
	try {
		try {
			var _usingCtx3 = _usingCtx();
			const then = _usingCtx3.a(await openFleetAt(opened, await opened.repository.commitOf(commit)));
			const [step] = await prepare(then, null, then.fleet.hosts.filter(({ name }) => name === host.name), {
				id: commit,
				subject: ""
			}, work);
			if (step === void 0 || "result" in step) return void 0;
			return step.value.candidate.digest === digest ? await withArchive(step.value) : void 0;
		} catch (_) {
			_usingCtx3.e = _;
		} finally {
			await _usingCtx3.d();
		}
	} catch (error) {
		if (error instanceof FleetError || error instanceof HostError) return void 0;
		throw error;
	}
}
/** What the repository has for the host at a commit that was never published for it, evaluated as for a deploy. */
async function neverPublished(context, opened, host, wanted, options, work) {
	try {
		var _usingCtx4 = _usingCtx();
		if (wanted === null) throw new FleetError(`no release of ${host.name} before this one is known`, { hint: "--to COMMIT publishes what the repository had for it then" });
		if ("sequence" in wanted) throw new FleetError(`no release ${wanted.sequence} of ${host.name} is known any more`, { hint: "--to COMMIT publishes what the repository had for it then" });
		const id = await opened.repository.commitOf(wanted.commit);
		const then = _usingCtx4.a(await openFleetAt(opened, id));
		const nix = await Nix.find(options.nix, context.signal);
		const { stager } = then;
		const evaluator = {
			context,
			nix,
			stager,
			memory: openMemory(context.env),
			derivations: false,
			limits: options
		};
		const { hosts } = await withFlakeHosts(then.fleet, evaluator);
		const [step] = await prepare(then, evaluator, hosts.filter(({ name }) => name === host.name), await then.repository.head(), work);
		if (step === void 0) throw new FleetError(`there was no host ${host.name} at commit ${id.slice(0, 12)}`);
		if ("result" in step) return step;
		const made = await withArchive(step.value).catch(failing);
		return "failure" in made ? {
			host,
			result: failed$2(host, made.failure)
		} : {
			host,
			value: made
		};
	} catch (_) {
		_usingCtx4.e = _;
	} finally {
		await _usingCtx4.d();
	}
}
async function sha256Of(file) {
	const hash = createHash("sha256");
	for await (const piece of createReadStream(file)) hash.update(piece);
	return hash.digest("hex");
}
// src/cli/deploy.ts
/** What hosts get, or get again. */
function addDeployCommands(bento) {
	withNix(withHosts(common(bento.command("deploy")))).description("publish the releases of the hosts that changed").option("--dry-run", "say what would be published, and do nothing", false).option("--force", "publish also what is older than, or can't be compared with, what is published", false).option("--no-eval", "ship the hosts' files without evaluating them").option("--wave <n>", "only the n-th wave of fleet.yaml's rollout, once the waves before are well; or all").option("--wait <duration>", "how long to wait for another deploy, and for the waves before, such as 90s, 30m or 1h", "0").action((options) => show$1(options, ({ context, fleet, hosts }) => deploy(context, {
		fleet: fleet(),
		hosts,
		dryRun: options.dryRun,
		force: options.force,
		evaluate: options.eval,
		wave: options.wave === void 0 ? null : parseWave(options.wave),
		wait: parseDuration(options.wait),
		...nixOptions(options)
	}), (document, { paint, verbose }) => renderDeploy(document, paint, verbose)));
	withNix(common(bento.command("rollback <host>"))).description("publish what a host had before, as a new release").option("--to <release>", "its sequence, or a commit (default: the release before the current one)").option("--dry-run", "say what would be published, and do nothing", false).option("--wait <duration>", "how long to wait for a deploy that is going on, such as 90s, 30m or 1h", "0").action((name, options) => show$1(options, ({ context, fleet }) => rollback(context, {
		fleet: fleet(),
		host: name,
		to: options.to ?? null,
		dryRun: options.dryRun,
		wait: parseDuration(options.wait),
		...nixOptions(options)
	}), (document, { paint, verbose }) => renderDeploy(document, paint, verbose)));
}
// src/cli/environment.ts
const ENVIRONMENT = [
	{
		name: "BENTO_SSH_KEY",
		what: "the publisher's private key; or BENTO_SSH_KEY_FILE, its file"
	},
	{
		name: "BENTO_SIGNING_KEY",
		what: "the key that signs releases; or BENTO_SIGNING_KEY_FILE, its file"
	},
	{
		name: "BENTO_GIT_SSH_KEY",
		what: "the key to push releases to a git remote with, where git itself has none; or BENTO_GIT_SSH_KEY_FILE, its file"
	},
	{
		name: "BENTO_CACHE_KEY",
		what: "the key that signs what was built; or BENTO_CACHE_KEY_FILE, its file"
	},
	{
		name: "BENTO_MEMORY_KEY",
		what: "a secret text: only evaluations that were remembered with it are believed"
	},
	{
		name: "BENTO_EVALUATIONS",
		what: "where evaluations are remembered (default: below $XDG_CACHE_HOME/bento), and after a colon where else they may be read"
	},
	{
		name: "VISUAL, EDITOR",
		what: "what bento secret edit opens a secret with"
	},
	{
		name: "NAME",
		what: "the same as --hosts"
	},
	{
		name: "NO_COLOR",
		what: "the same as --no-color, when it is not empty"
	}
];
/** As `help` shows options. */
function environmentHelp(help) {
	const width = Math.max(...ENVIRONMENT.map(({ name }) => name.length));
	return ENVIRONMENT.map(({ name, what }) => help.formatItem(name, width, what, help)).join("\n");
}
// src/fleet/edit.ts
var import_dist = require_dist();
/** Text in, text out: fleet.yaml with one more host, its comments and order as they were. */
function withHost(text, name, host) {
	const document = (0, import_dist.parseDocument)(text, { stringKeys: true });
	if (document.hasIn(["hosts", name])) throw new FleetError(`there is a host '${name}' already`, { at: { file: FLEET_FILE } });
	if (!(0, import_dist.isMap)(document.get("hosts"))) document.set("hosts", document.createNode({}));
	const hosts = document.get("hosts");
	if ((0, import_dist.isMap)(hosts) && hosts.items.length === 0) hosts.flow = false;
	const { key, path: place, groups, ssh } = host;
	document.setIn(["hosts", name], document.createNode({
		...key === void 0 ? {} : { key },
		...place === void 0 ? {} : { path: place },
		...groups === void 0 || groups.length === 0 ? {} : { groups },
		...ssh === void 0 ? {} : { ssh }
	}));
	return serialise(document);
}
function withoutHost(text, name) {
	const document = (0, import_dist.parseDocument)(text, { stringKeys: true });
	if (!document.hasIn(["hosts", name])) throw new FleetError(`there is no host '${name}' in ${FLEET_FILE}`);
	document.deleteIn(["hosts", name]);
	return serialise(document);
}
/** Applies `edit` to the fleet's fleet.yaml. Nothing is written unless the result is a fleet.yaml without mistakes. */
async function editFleetFile(dir, edit) {
	const file = path.join(dir, FLEET_FILE);
	let text;
	try {
		text = await readFile(file, "utf8");
	} catch (cause) {
		throw new FleetError(`there is no ${FLEET_FILE} in ${dir}`, {
			hint: "bento init makes one",
			cause
		});
	}
	parseFleetFile(text);
	const edited = edit(text);
	parseFleetFile(edited);
	await writeFileAtomically(file, edited);
}
function serialise(document) {
	return document.toString({
		lineWidth: 0,
		flowCollectionPadding: true
	});
}
// src/commands/render.ts
/** Writes the files that are made from fleet.yaml: what the server is set up from, and what the agents are. */
async function render(options) {
	return {
		version: 1,
		command: "render",
		files: await writeRendered(options.fleet)
	};
}
/** @throws FleetError when fleet.yaml is missing or wrong; nothing is written then. */
async function writeRendered(dir) {
	const fleet = await loadFleet(dir);
	if (fleet.file === null) throw new FleetError(`there is no fleet.yaml in ${dir} to render from`, { hint: "bento init makes one" });
	const stale = new Set(await staleFiles(fleet));
	const results = [];
	for (const [file, text] of renderedFiles(fleet)) {
		if (stale.has(file)) await writeFileAtomically(path.join(dir, file), text);
		results.push({
			file,
			status: stale.has(file) ? "written" : "unchanged"
		});
	}
	return results;
}
// src/commands/host.ts
/** The hosts of fleet.yaml, and configurations that were found without an entry. Needs no Nix, so a flake that has none counts once. */
async function hostList(options) {
	const fleet = await loadFleet(options.fleet);
	return {
		version: 1,
		command: "host list",
		hosts: selectHosts(fleet.hosts, options.hosts).map((host) => ({
			name: host.name,
			status: host.declared ? "declared" : "found",
			kind: host.kind,
			path: host.path,
			groups: host.groups,
			key: host.key,
			ssh: host.ssh
		}))
	};
}
/**
* Enters a host into fleet.yaml, links utils/ into its directory, and renders.
* @throws FleetError when its configuration isn't there yet, or the entry would be wrong; nothing is changed then.
*/
async function hostAdd(context, options) {
	const { fleet, name, keyFile, ...given } = options;
	const place = given.path ?? `hosts/${name}`;
	const key = keyFile === void 0 ? given.key : await readPublicKey(path.resolve(context.cwd, keyFile));
	const entry = {
		...given,
		...key === void 0 ? {} : { key }
	};
	checkFleetText(withHost("", name, entry));
	const directory = path.join(fleet, place);
	if (!existsSync(path.join(directory, "flake.nix")) && !existsSync(path.join(directory, "configuration.nix"))) throw new FleetError(`there is neither ${place}/configuration.nix nor ${place}/flake.nix`, { hint: `bring the machine's configuration into the fleet first: scp -r root@${name}:/etc/nixos ${place}` });
	const before = await readFile(path.join(fleet, FLEET_FILE), "utf8").catch(() => "");
	await editFleetFile(fleet, (text) => withHost(text, name, entry));
	try {
		await loadFleet(fleet);
	} catch (error) {
		await writeFileAtomically(path.join(fleet, FLEET_FILE), before);
		throw error;
	}
	const linked = await linkUtils(fleet, place);
	const files = [...linked ? [linked] : [], ...await writeRendered(fleet)];
	const warnings = [];
	if (key === void 0) warnings.push(`${name} has no key yet, so nothing is deployed to it: add the line of its ssh_host_ed25519_key.pub`);
	if (!await importsAgent(directory)) warnings.push(`${place} does not seem to import ./utils/bento.nix and set services.bento.enable: without the agent bento check will fail`);
	return {
		version: 1,
		command: "host add",
		hosts: [{
			name,
			status: "added"
		}],
		files,
		warnings
	};
}
/** Takes a host's entry out of fleet.yaml. Its configuration is left where it is. */
async function hostRemove(options) {
	const { fleet, name } = options;
	await editFleetFile(fleet, (text) => withoutHost(text, name));
	const files = await writeRendered(fleet);
	const warnings = existsSync(path.join(fleet, "hosts", name)) ? [`hosts/${name} is left as it is: it is still checked, and never deployed`] : [];
	return {
		version: 1,
		command: "host remove",
		hosts: [{
			name,
			status: "removed"
		}],
		files,
		warnings
	};
}
async function readPublicKey(file) {
	try {
		return (await readFile(file, "utf8")).trim();
	} catch (cause) {
		throw new FleetError(`the key can't be read from ${file} (${cause.code})`, { cause });
	}
}
/** Makes the link `utils` in the host's directory, unless there is something of that name. */
async function linkUtils(fleet, place) {
	const link = path.posix.join(place, "utils");
	if (place === "." || !existsSync(path.join(fleet, "utils")) || existsSync(path.join(fleet, link))) return void 0;
	await symlink(`${path.posix.relative(place, "utils")}/`, path.join(fleet, link));
	return {
		file: link,
		status: "written"
	};
}
async function importsAgent(directory) {
	const names = (await readdir(directory)).filter((name) => name.endsWith(".nix"));
	return (await Promise.all(names.map((name) => readFile(path.join(directory, name), "utf8").catch(() => "")))).some((text) => text.includes("bento.nix"));
}
// src/commands/init/planned.ts
/**
* What an update does: what nobody has changed is replaced, added or removed; what somebody has changed stays, and the rest of its part
* with it. `isTaken`: of these, Bento's is wanted, whatever was there.
*/
function planUpdate(originals, lock, present, isTaken) {
	const byFile = new Map(originals.map((original) => [original.file, original]));
	const all = [.../* @__PURE__ */ new Set([...byFile.keys(), ...lock?.files.keys() ?? []])].sort();
	const isThere = (file) => present.get(file)?.kind === "file";
	const parts = Map.groupBy(all, partOf);
	const withWorkflows = all.some((file) => isWorkflow(file) && isThere(file));
	const files = [...parts.values()].flatMap((part) => {
		const isUnwanted = lock === null || part.some((file) => lock.files.has(file)) || part.some(isWorkflow) && !withWorkflows;
		const isLeftOut = !part.some(isThere) && !part.some(isTaken) && isUnwanted;
		const planned = part.map((file) => {
			const original = byFile.get(file) ?? null;
			return {
				file,
				original,
				status: isLeftOut && original !== null ? "left-out" : decide(file, original)
			};
		});
		const isHeld = planned.some(({ status }) => status === "kept");
		return planned.map((one) => isHeld && isChange(one.status) ? {
			...one,
			status: "held"
		} : one);
	});
	function decide(file, original) {
		const now = present.get(file) ?? { kind: "missing" };
		const before = lock?.files.get(file) ?? null;
		const wanted = original === null ? null : idOf(original);
		if (wanted !== null && wanted === before && !isTaken(file)) return "unchanged";
		if (now.kind !== "file") {
			if (wanted === null) return "unchanged";
			return before === null || isTaken(file) ? "added" : "kept";
		}
		if (now.id === wanted) return "unchanged";
		if (now.id !== before && !isTaken(file)) return "kept";
		return wanted === null ? "removed" : "updated";
	}
	const recorded = new Map(files.flatMap(({ file, status, original }) => {
		const before = lock?.files.get(file);
		const now = original && idOf(original);
		const id = status === "kept" || status === "held" ? before : status === "left-out" ? before ?? now : now;
		return id ? [[file, id]] : [];
	}));
	return {
		files: files.sort((one, other) => one.file < other.file ? -1 : 1),
		recorded
	};
}
/** Whether something is written, or taken away. */
function isChange(status) {
	return status === "updated" || status === "added" || status === "removed";
}
function isWorkflow(file) {
	return file.includes(".github/workflows/");
}
// src/commands/init/update.ts
/**
* Brings what `bento init` once copied up to this Bento: what nobody has changed since is replaced, and what somebody has changed is
* left, with all that has to be of one version with it.
* @throws FleetError when there is no way back in git, or something is wrong; nothing is written then.
*/
async function update(context, options) {
	const fleet = await loadFleet(options.fleet);
	if (fleet.file === null) throw new FleetError(`there is no ${FLEET_FILE} in ${fleet.dir}`, { hint: "bento init makes a fleet" });
	const repository = await Repository.open(fleet.dir);
	const dir = await realpath(fleet.dir);
	const place = path.relative(repository.root, dir).split(path.sep).join("/") || ".";
	const lock = await readLock(dir);
	requireNewer(lock);
	const originals = await copiedFiles(place);
	const names = [.../* @__PURE__ */ new Set([...originals.map(({ file }) => file), ...lock?.files.keys() ?? []])];
	const present = await presentOf(names, dir, repository.root);
	const { files, recorded } = planUpdate(originals, lock, present, taken(options.take, names));
	if (files.every(({ status }) => status === "left-out")) throw new FleetError("nothing that bento init copies is in this fleet", { hint: "a flake that has the modules from Bento's is brought up to date by: nix flake update bento" });
	const changes = files.filter(({ status }) => isChange(status));
	const stale = await staleFiles(fleet);
	const text = lockText({
		bento: packageVersion(),
		files: recorded
	});
	const isRecorded = lock !== null && lockText(lock) === text;
	if (!options.dryRun) {
		await requireCommitted(repository, dir, [...changes.map(({ file }) => file), ...isRecorded ? [] : [LOCK_FILE]], present);
		if (context.signal.aborted) throw new InterruptedError();
		const rendered = renderedFiles(fleet);
		await replaceAll(dir, [
			...changes.map(replacement),
			...isRecorded ? [] : [{
				file: LOCK_FILE,
				content: text
			}],
			...stale.map((file) => ({
				file,
				content: rendered.get(file) ?? ""
			}))
		]);
	}
	const kept = files.filter(({ status }) => status === "kept");
	const shown = await Promise.all(files.map(async (one) => ({
		file: one.file,
		place: placeOf(one.file),
		status: one.status,
		change: one.status === "kept" ? await changeOf(repository, dir, one, lock) : null
	})));
	return {
		version: 1,
		command: "init --update",
		fleet: fleet.dir,
		dryRun: options.dryRun,
		from: lock?.bento ?? null,
		to: packageVersion(),
		files: [...shown, ...stale.map((file) => ({
			file,
			place: file,
			status: "updated",
			change: null
		}))],
		next: [...kept.length === 0 ? [] : keptSteps(kept, lock), ...changes.length + stale.length === 0 ? [] : nextSteps(options.dryRun)]
	};
}
/** What to do about what is left. What isn't recorded is a lot, mostly, and is named by its directory. */
function keptSteps(kept, lock) {
	const isRecorded = (file) => lock?.files.has(file) ?? false;
	const command = ["bento init --update", ...[...new Set(kept.map(({ file }) => isRecorded(file) ? file : placeOf(file)))].map((place) => `--take ${shellWord(place)}`)].join(" ");
	return [...kept.every(({ file }) => isRecorded(file)) ? [] : ["git log -p -- PLACE says what was changed there"], `${command} takes Bento's; then make your own changes again, and commit`];
}
function nextSteps(dryRun) {
	return dryRun ? ["bento init --update does it"] : ["bento check", "git add -A && git commit; hosts get it as they get any release, a canary first where there are waves"];
}
/** What an older Bento has is no update. */
function requireNewer(lock) {
	if (lock === null || !isNewer(lock.bento, packageVersion())) return;
	throw new FleetError(`what is here is of Bento ${lock.bento}, and this is ${packageVersion()}`, { hint: "bring the command up to date first" });
}
/** @throws FleetError for what is behind a link: whatever that leads to may be somebody else's as well. */
async function presentOf(names, dir, root) {
	const present = /* @__PURE__ */ new Map();
	for (const name of names) {
		const one = await presentAt(root, path.join(dir, name));
		if (one.kind === "link") {
			const at = path.relative(dir, one.at);
			throw new FleetError(`${at} is a link: what it leads to is not this fleet's to update`, { hint: "bring that up to date where it is" });
		}
		present.set(name, one);
	}
	return present;
}
/** @throws FleetError for a place where Bento has nothing. */
function taken(take, names) {
	const places = take.map((one) => path.posix.normalize(one).replace(/(?<=.)\/$/, ""));
	const isIn = (place, file) => file === place || file.startsWith(`${place}/`);
	for (const place of places) if (!names.some((name) => isIn(place, name))) throw new FleetError(`--take ${place}: bento init copies nothing of that name`, { hint: "it is a file or a directory as bento init --update lists them, such as utils/agent" });
	return (file) => places.some((place) => isIn(place, file));
}
/** @throws FleetError unless git could give back all of these that there are. */
async function requireCommitted(repository, dir, files, present) {
	const tracked = new Set((await repository.tracked()).map((entry) => entry.path));
	const modified = new Set(await repository.modified());
	const risked = files.filter((file) => {
		const inRepository = path.relative(repository.root, path.join(dir, file)).split(path.sep).join("/");
		const isThere = present.get(file)?.kind === "file";
		return modified.has(inRepository) || isThere && !tracked.has(inRepository);
	});
	if (risked.length === 0) return;
	const [first, ...others] = risked;
	const more = others.length === 0 ? "" : ` and ${others.length} more`;
	throw new FleetError(`${first}${more} would be replaced, and git doesn't have what is there`, { hint: "commit it first, so that nothing is lost: git status" });
}
function replacement({ file, original }) {
	if (original === null) return {
		file,
		content: null
	};
	return {
		file,
		content: original.content,
		mode: original.executable ? 493 : 420
	};
}
/** @throws FleetError when that can't be done: it is as it was then. */
async function replaceAll(dir, replacements) {
	try {
		await replaceFiles(replacements.map((one) => ({
			...one,
			file: path.join(dir, one.file)
		})));
	} catch (error) {
		const { code, path: file } = error;
		if (code === void 0) throw error;
		const at = file === void 0 ? dir : path.relative(dir, file);
		throw new FleetError(`nothing is changed, since ${at} can't be written (${code})`, { cause: error });
	}
}
/** What somebody has changed in a file, where the repository still has what was copied; otherwise, what Bento's has that theirs hasn't. */
async function changeOf(repository, dir, { file, original }, lock) {
	const theirs = await readFile(path.join(dir, file)).catch(() => Buffer.alloc(0));
	const blob = lock?.files.get(file)?.split(" ")[1];
	const base = blob === void 0 ? null : await runGit(repository.root, [
		"cat-file",
		"blob",
		blob
	]);
	if (base?.status === 0) return {
		of: "yours",
		diff: await difference(file, base.stdout, theirs)
	};
	return {
		of: "bento",
		diff: await difference(file, theirs, original?.content ?? Buffer.alloc(0))
	};
}
async function difference(file, before, after) {
	try {
		var _usingCtx$4 = _usingCtx();
		const work = _usingCtx$4.a(await temporaryDirectory());
		const name = file.replace(/^(?:\.\.\/)+/, "");
		for (const [side, content] of [["a", before], ["b", after]]) {
			await mkdir(path.join(work.path, side, path.dirname(name)), { recursive: true });
			await writeFile(path.join(work.path, side, name), content);
		}
		return (await runGit(work.path, [
			...[
				"diff",
				"--no-index",
				"--no-color",
				"--no-ext-diff",
				"--no-textconv",
				"--no-prefix"
			],
			`a/${name}`,
			`b/${name}`
		])).stdout.toString("utf8");
	} catch (_) {
		_usingCtx$4.e = _;
	} finally {
		await _usingCtx$4.d();
	}
}
// src/fleet/template.ts
/** The text of a new fleet.yaml: what is known is filled in, and the rest stands there as a comment. */
function fleetTemplate({ server, publishers, signers }) {
	const block = [
		"server:",
		`  address: ${text(server?.address ?? "fleet.example.org")}`,
		`  port: ${server?.port ?? 22}`,
		"  # Pinned: the server's /etc/ssh/ssh_host_ed25519_key.pub, copied by hand. Nothing ever asks the network for it.",
		...list("  hostKeys", server?.hostKeys ?? [], "ssh-ed25519 AAAA…"),
		"  # Who may publish: the public key that bento keygen called 'publisher'.",
		...list("  publishers", publishers, "ssh-ed25519 AAAA… publisher")
	];
	return `${[
		"# The fleet: where its releases go, who signs them, and its hosts. After a change: bento render",
		"",
		"# The SFTP server that hosts poll.",
		...server === null ? block.map((line) => `# ${line}`) : block,
		"",
		"# Whose releases hosts accept: the public key that bento keygen called 'signing'.",
		...list("signers", signers, "ssh-ed25519 AAAA… signing"),
		"",
		"# Who can edit every host's secrets (bento secret), by their ssh keys.",
		`# administrators: [ ${text("ssh-ed25519 AAAA… you")} ]`,
		"",
		"# One entry for each host: bento host add NAME --key 'ssh-ed25519 AAAA…'",
		"hosts: {}"
	].join("\n")}\n`;
}
function list(key, values, example) {
	if (values.length === 0) return [`${key}: [] # [ ${text(example)} ]`];
	const indent = key.replace(/\S.*/, "");
	return [`${key}:`, ...values.map((value) => `${indent}  - ${text(value)}`)];
}
/** JSON's strings are YAML's. */
function text(value) {
	return JSON.stringify(value);
}
// src/commands/init.ts
/**
* Makes a fleet: fleet.yaml, utils/, hosts/ and workflows. What is there already is left as it is.
* @throws FleetError when there is a fleet.yaml already, or what would go into one is wrong; nothing is written then.
*/
async function init(context, options) {
	const fleet = path.resolve(context.cwd, options.directory);
	if (existsSync(path.join(fleet, "fleet.yaml"))) throw new FleetError(`there is a ${FLEET_FILE} in ${fleet} already`, { hint: "edit it, and then run bento render" });
	if (options.server === null && options.hostKeys.length > 0) throw new FleetError("--host-key says how to know a server, but there is no --server");
	if (options.server !== null && options.hostKeys.length === 0) throw new FleetError("--server needs the server's public host key, to pin it: --host-key", { hint: `scp root@${options.server}:/etc/ssh/ssh_host_ed25519_key.pub server.pub, and then: --host-key "$(cat server.pub)"` });
	const text = fleetTemplate({
		server: options.server === null ? null : {
			address: options.server,
			port: options.port,
			hostKeys: options.hostKeys
		},
		publishers: await publicKeys(context, options.keys, "publisher"),
		signers: await publicKeys(context, options.keys, "signing")
	});
	checkFleetText(text);
	const real = await realPlace(fleet);
	const repository = await repositoryOf(real);
	const top = repository ?? real;
	const place = posix(path.relative(top, real)) || ".";
	if (place !== "." && !options.subdirectory) throw new FleetError(`${real} is within the git repository in ${top}`, { hint: `git init -b main ${shellWord(options.directory)} makes it one of its own first; or bento init --subdirectory, whose workflows go into ${top}/.github` });
	await makeDirectory(path.join(fleet, "hosts"));
	const files = [];
	for (const name of UTILS) files.push(await copyOnce(path.join(packageRoot(), "utils", name), fleet, `utils/${name}`));
	const copied = {
		version: packageVersion(),
		fleet: place,
		originals: await originalWorkflows()
	};
	for (const [file, text] of Object.entries(workflowCopies(copied))) {
		const { status } = await writeOnce(top, file, text);
		files.push({
			file: posix(path.relative(real, path.join(top, file))),
			status
		});
	}
	files.push(await writeOnce(fleet, LOCK_FILE, await lockOf(fleet, place)));
	files.push(await writeOnce(fleet, FLEET_FILE, text));
	files.push(...await writeRendered(fleet));
	return {
		version: 1,
		command: "init",
		fleet,
		files,
		next: [
			...options.keys === null ? ["bento keygen DIRECTORY makes the keys that sign and publish releases"] : [],
			...options.server === null ? [`fill in the server in ${FLEET_FILE}, then run bento render`] : [],
			"bring each machine's configuration to hosts/NAME/, then: bento host add NAME --key 'ssh-ed25519 AAAA…'",
			"in each configuration: imports = [ ./utils/bento.nix ]; services.bento.enable = true;",
			...repository === null ? ["git init -b main"] : [],
			"git add -A && git commit, then: bento check"
		]
	};
}
/** What the fleet has of this Bento's: not what was there before and is another. */
async function lockOf(fleet, place) {
	const here = (await copiedFiles(place)).filter((one) => isSame(path.join(fleet, one.file), one));
	return lockText({
		bento: packageVersion(),
		files: new Map(here.map((one) => [one.file, idOf(one)]))
	});
}
function isSame(file, { content }) {
	try {
		return readFileSync(file).equals(content);
	} catch {
		return false;
	}
}
/** Where a directory is or will be, links resolved. */
async function realPlace(dir) {
	return existsSync(dir) ? realpath(dir) : path.join(await realPlace(path.dirname(dir)), path.basename(dir));
}
/**
* The top of the repository that a new fleet is in: its own, or one around it that doesn't ignore it. Null for none.
* @throws FleetError, UnavailableError when git refuses the one around it, or isn't there.
*/
async function repositoryOf(fleet) {
	if (existsSync(path.join(fleet, ".git"))) return fleet;
	let dir = fleet;
	while (!existsSync(path.join(dir, ".git"))) {
		if (dir === path.dirname(dir)) return null;
		dir = path.dirname(dir);
	}
	const repository = await Repository.open(dir);
	return await repository.ignores(fleet) ? null : repository.root;
}
function posix(file) {
	return file.split(path.sep).join("/");
}
async function publicKeys(context, directory, name) {
	if (directory === null) return [];
	const file = path.join(path.resolve(context.cwd, directory), `${name}.pub`);
	try {
		return [(await readFile(file, "utf8")).trim()];
	} catch (cause) {
		throw new FleetError(`${file} can't be read (${cause.code})`, {
			hint: "bento keygen DIRECTORY makes the keys",
			cause
		});
	}
}
async function copyOnce(source, fleet, file) {
	const target = path.join(fleet, file);
	if (existsSync(target)) return {
		file,
		status: "unchanged"
	};
	await makeDirectory(path.dirname(target));
	await cp(source, target, {
		recursive: true,
		errorOnExist: true,
		force: false
	});
	return {
		file,
		status: "written"
	};
}
async function writeOnce(fleet, file, text) {
	const target = path.join(fleet, file);
	if (existsSync(target)) return {
		file,
		status: "unchanged"
	};
	await writeFileAtomically(target, text);
	return {
		file,
		status: "written"
	};
}
// src/render/init-update.ts
/** What became of the files; those that are as they were are not listed, since most are. */
function renderInitUpdate(document, paint, verbose) {
	const of = (...statuses) => document.files.filter(({ status }) => statuses.includes(status));
	const kept = of("kept");
	const held = of("held");
	return [
		heading(document),
		...of("updated").map(({ file }) => `${paint("green", "✓")} ${file}`),
		...of("added").map(({ file }) => `${paint("green", "✓")} ${file} is new`),
		...of("removed").map(({ file }) => `${paint("green", "✓")} ${file} is gone: Bento has it no more`),
		...[...Map.groupBy(kept, ({ change, file, place }) => change?.of === "yours" ? file : place)].flatMap(([place, files]) => keptLines(place, files, paint, verbose)),
		...held.length === 0 ? [] : [paint("dim", `· ${count(held.length, "more file")} left, since they have to be of one version with that`)],
		...document.next.length === 0 ? [] : [
			"",
			"Next:",
			...document.next.map((step) => `  ${step}`)
		]
	].join("\n");
}
function heading({ files, from, to, dryRun }) {
	if (files.some(({ status }) => status === "updated" || status === "added" || status === "removed")) return `${dryRun ? "To be brought" : "Brought"} ${from === null || from === to ? "" : `from Bento ${from} `}to Bento ${to}:`;
	return files.some(({ status }) => status === "kept") ? `Nothing ${dryRun ? "would be" : "was"} brought to Bento ${to}:` : `All that bento init copied is of Bento ${to}.`;
}
/** Somebody's own change is shown whole, to be made again; what is different in Bento's may be a version's work. */
function keptLines(place, kept, paint, verbose) {
	const areTheirs = kept.every(({ change }) => change?.of === "yours");
	const what = kept.length === 1 ? kept.map(({ file }) => file).join("") : `${place} (${count(kept.length, "file")})`;
	const why = areTheirs ? "it was changed here" : "whether it was changed here isn't known, and Bento's is another";
	const diffs = kept.map(({ change }) => areTheirs || verbose ? inert(change?.diff ?? "").trimEnd() : "");
	return [`${paint("yellow", "✗")} ${what} is left: ${why}`, ...diffs.filter((diff) => diff !== "").flatMap((diff) => diff.split("\n").map((line) => `    ${line}`))];
}
// src/cli/fleet.ts
/** What is in the repository: fleet.yaml, what is made from it, and its hosts. */
function addFleetCommands(bento) {
	const onlyNew = (flags, description) => new Option(flags, description).conflicts("update");
	common(bento.command("init [directory]")).description("make a fleet: fleet.yaml, utils/, hosts/ and workflows; or bring those of an older Bento up to date").addOption(onlyNew("--server <address>", "the server that hosts will poll")).addOption(onlyNew("--port <number>", "its ssh port").argParser(wholeNumber).default(22)).addOption(onlyNew("--host-key <key>", "a public host key of the server's, to pin (can be repeated)").argParser(append).default([])).addOption(onlyNew("--keys <directory>", "where bento keygen left its keys")).addOption(onlyNew("--subdirectory", "the fleet is a part of the repository around it").default(false)).option("--update", "bring what an older bento init copied up to this Bento, as far as it wasn't changed since").option("--take <path>", "with --update: take Bento's here, whatever was changed (can be repeated)", append, []).option("--dry-run", "with --update: only say what would be done", false).action((directory, options) => {
		if (options.update) return updateCopies(directory, options);
		return show$1(options, async ({ context }) => {
			if (options.dryRun || options.take.length > 0) throw new FleetError("--dry-run and --take are for bento init --update");
			return init(context, {
				directory: directory ?? options.fleet ?? ".",
				server: options.server ?? null,
				port: options.port,
				hostKeys: options.hostKey,
				keys: options.keys ?? null,
				subdirectory: options.subdirectory
			});
		}, (document, { paint }) => renderInit(document, paint));
	});
	common(bento.command("render")).description("write the files that are made from fleet.yaml").action((options) => show$1(options, ({ fleet }) => render({ fleet: fleet() }), (document, { paint }) => renderRender(document, paint)));
	const host = bento.command("host").description("list, add and remove hosts").exitOverride();
	withHosts(common(host.command("list"))).description("the hosts of fleet.yaml, and configurations without an entry").action((options) => show$1(options, async ({ fleet, hosts }) => hostList({
		fleet: fleet(),
		hosts
	}), (document, { paint }) => renderHostList(document, paint)));
	common(host.command("add <name>")).description("enter a host into fleet.yaml").option("--key <key>", "its public ssh key, a line such as 'ssh-ed25519 AAAA… root@name'").option("--key-file <file>", "a file with that line").option("--path <directory>", "where its configuration is, within the fleet (default: hosts/NAME)").option("--group <name>", "a group that it is in (can be repeated)", append, []).option("--ssh <target>", "how an administrator reaches it, user@address").action((name, options) => show$1(options, ({ context, fleet }) => hostAdd(context, {
		fleet: fleet(),
		name,
		groups: options.group,
		...given("key", options.key),
		...given("keyFile", options.keyFile),
		...given("path", options.path),
		...given("ssh", options.ssh)
	}), (document, { paint }) => renderHostEdit(document, paint)));
	common(host.command("remove <name>")).description("take a host's entry out of fleet.yaml").action((name, options) => show$1(options, ({ fleet }) => hostRemove({
		fleet: fleet(),
		name
	}), (document, { paint }) => renderHostEdit(document, paint)));
}
function updateCopies(directory, options) {
	return show$1(options, ({ context, fleet }) => update(context, {
		fleet: directory === void 0 ? fleet() : path.resolve(directory),
		take: options.take,
		dryRun: options.dryRun
	}), (document, { paint, verbose }) => renderInitUpdate(document, paint, verbose));
}
// src/commands/bootstrap/bootstrap.sh
var bootstrap_default = "#!/bin/sh\n# Brings the machine that it runs on into its fleet: installs nothing, but fetches this host's release with Bento's agent,\n# which it carries, activates it as any later upgrade would, and goes back if the server can't be reached any more. From then\n# on the configuration's own agent (services.bento) takes over. Run it as root on the machine itself, as often as you like:\n#\n#   bento bootstrap HOST | ssh root@MACHINE sh\n#\n# A connection that breaks doesn't matter: the upgrade goes on by itself, and whoever runs this again sees what becomes of it. On a\n# machine that the 2022 Bento looks after, it takes over from that.\n#\n# Where the server doesn't know the machine yet it says what to do about that, and changes nothing. What is to be entered into\n# the fleet is on stdout, everything else on stderr.\n#\n# Exit status: the agent's; 2 when this machine can't take part yet.\nhost='@host@'\n# The key that fleet.yaml has for this host; empty for a new machine.\npinned='@key@'\n# The command that enters the key of a new machine; empty where the line for fleet.yaml is said instead.\nenter='@enter@'\n# Its address; empty in a fleet that has none.\nserver='@server@'\n\ntell() { echo \"bootstrap: $1\" >&2; }\n\nfail() {\n  tell \"$1\"\n  exit 2\n}\n\nunpack() {\n  # Its end is far below: the archive is the rest of this function.\n  base64 -d << 'ARCHIVE' | gzip -dc | nix-store --restore \"$1\"\n@archive@\nARCHIVE\n}\n\nhave() { command -v \"$1\" > /dev/null 2>&1; }\n\n# find_key: sets $key to the file that this machine logs in with, which is made where there is none, and $actual to its public\n# half.\nfind_key() {\n  key=${BENTO_KEY:-/etc/ssh/ssh_host_ed25519_key}\n  take_old_key\n  if [ ! -e \"$key\" ]; then\n    have ssh-keygen || fail \"there is no $key, and no ssh-keygen to make it\"\n    mkdir -p \"${key%/*}\"\n    rm -f \"$key.new\" \"$key.new.pub\"\n    ssh-keygen -q -t ed25519 -N '' -C \"root@$host\" -f \"$key.new\"\n    install_key\n    tell \"made this machine's key, $key\"\n  fi\n  actual=$(public_half \"$key\") || fail \"$key is no private key without a passphrase\"\n}\n\n# install_key: $key.new becomes $key. Cut off in between, the next one begins again: without the private half there is no key.\ninstall_key() {\n  chmod 644 \"$key.new.pub\"\n  mv \"$key.new.pub\" \"$key.pub\"\n  sync \"$key.pub\" \"$key.new\" \"${key%/*}\"\n  mv \"$key.new\" \"$key\"\n  sync \"${key%/*}\"\n}\n\n# public_half FILE: without its comment.\npublic_half() {\n  if [ -e \"$1.pub\" ]; then cut -d' ' -f1,2 \"$1.pub\"; else ssh-keygen -y -P '' -f \"$1\" 2> /dev/null | cut -d' ' -f1,2 | grep .; fi\n}\n\n# take_old_key: where the 2022 Bento's key, one of root's, is the one that the fleet knows, it is this machine's key: copied to\n# $key when nothing is there, and otherwise used where it is.\ntake_old_key() {\n  if [ -e \"$key\" ] && [ \"$(public_half \"$key\")\" = \"$pinned\" ]; then return; fi\n  if [ -z \"$pinned\" ] && [ ! -e \"$state/update.sh\" ]; then return; fi\n  old=$(old_key) || return 0\n  if [ -e \"$key\" ] || ! is_ed25519 \"$old\"; then\n    key=$old\n    tell \"it logs in with $key, so its configuration must have services.bento.key = \\\"$key\\\";\"\n    return\n  fi\n  mkdir -p \"${key%/*}\"\n  rm -f \"$key.new\"\n  cp \"$old\" \"$key.new\"\n  chmod 600 \"$key.new\"\n  echo \"$(public_half \"$old\") root@$host\" > \"$key.new.pub\"\n  install_key\n  tell \"copied the key that the fleet knows, $old, to $key\"\n}\n\n# old_key: prints the first of the keys that root logs in with at the server which fleet.yaml has; for a new machine, the first.\nold_key() {\n  { [ -z \"$server\" ] || ssh -G \"$server\" 2> /dev/null | sed -n 's/^identityfile //p'; echo \"${HOME:-/root}/.ssh/id_ed25519\"; } |\n    while IFS= read -r file; do\n      # shellcheck disable=SC2088\n      case $file in '~/'*) file=${HOME:-/root}/${file#'~/'} ;; esac\n      if [ -e \"$file\" ] && half=$(public_half \"$file\") && [ \"$half\" = \"${pinned:-$half}\" ]; then\n        echo \"$file\"\n        break\n      fi\n    done | grep .\n}\n\nis_ed25519() { case $(public_half \"$1\") in 'ssh-ed25519 '*) ;; *) return 1 ;; esac; }\n\n# with_programs COMMAND: in a shell that has what the agent calls.\nwith_programs() {\n  if have bash && have jq && have ssh && have sftp && have git && have gzip; then\n    sh -c \"$1\"\n  else\n    # A fresh NixOS has no jq.\n    have nix-shell || fail 'it needs bash, jq, openssh, git and gzip'\n    nix-shell -p bash jq openssh git gzip --run \"$1\"\n  fi\n}\n\n# be_let_in: ends here unless the server lets this machine in.\nbe_let_in() {\n  word=$(with_programs \"bash '$bento/agent/bento-agent' contact\" 2> \"$scratch/said\") || true\n  why=$(tail -n 1 \"$scratch/said\")\n  case $word in\n    known) return ;;\n    unknown)\n      [ -z \"$pinned\" ] || fail \"the server does not let this machine in yet, although fleet.yaml has its key: $why.\nSet the server up with the fleet.json that has $host (docs/server.md), and run this again.\"\n      tell 'the server does not know this machine yet.'\n      say_entry\n      exit 2\n      ;;\n    unreachable)\n      tell \"the server can't be reached from this machine: $why.\"\n      [ -n \"$pinned\" ] || say_entry\n      exit 75\n      ;;\n    wrong-host-key)\n      tell \"what answers is not the fleet's server, or has another key than fleet.yaml says: $why.\"\n      exit 1\n      ;;\n    *) fail \"whether the server lets this machine in can't be found out: $why\" ;;\n  esac\n}\n\n# say_entry: what makes a new machine known.\nsay_entry() {\n  if [ -n \"$enter\" ]; then\n    tell \"bring this machine's configuration to hosts/$host in the fleet's repository, and there run:\"\n    echo \"$enter --key '$actual root@$host'\"\n  else\n    tell \"write this into fleet.yaml, below $host, and run 'bento render':\"\n    echo \"key: \\\"$actual root@$host\\\"\"\n  fi\n  tell 'then commit and deploy, see to it that the server has the new fleet.json, and run this again.'\n}\n\n# unpack_agent: sets $bento to where everything is. In the store, so that the way back outlives whatever becomes of this script.\nunpack_agent() {\n  unpack \"$scratch/bento\"\n  bento=$(nix-store --add \"$scratch/bento\")\n  nix-store --realise \"$bento\" --add-root \"$dir/bento\" --indirect > /dev/null\n}\n\n# is_upgrading: whether an earlier run of this still goes on.\nis_upgrading() { [ -e \"$dir/lock\" ] && ! flock -n \"$dir/lock\" true; }\n\n# start_upgrade: apart from this script and its connection, in a unit of its own where there is systemd.\nstart_upgrade() {\n  rm -f \"$dir/status\" \"$dir/pid\" \"$dir/log\"\n  run=\"setsid bash '$dir/start' > /dev/null 2>&1 &\"\n  # A build that was killed for want of memory is a failed build, and nothing more.\n  if [ \"${BENTO_GUARD:-systemd}\" = systemd ] && [ -d /run/systemd/system ]; then\n    run=\"systemd-run --quiet --collect --property=OOMPolicy=continue --unit=bento-bootstrap-$$ \\\"\\$(command -v bash)\\\" '$dir/start'\"\n  fi\n  # With the environment that it has here, but for temporary places that nix-shell takes away again.\n  with_programs \"{ export -p; echo 'unset TMPDIR TMP TEMP TEMPDIR NIX_BUILD_TOP; exec sh \\\"$bento/upgrade\\\" \\\"$dir\\\"'; } > '$dir/start'\n$run\"\n  tries=0\n  until [ -e \"$dir/pid\" ]; do\n    tries=$((tries + 1))\n    [ \"$tries\" -le 100 ] || fail 'the upgrade could not be started'\n    sleep 0.1\n  done\n  rm -f \"$dir/start\"\n}\n\n# follow_upgrade: shows what it says until it has ended, and sets $status to how.\nfollow_upgrade() {\n  read -r pid < \"$dir/pid\"\n  tail -n +1 -s 0.2 -f --pid=\"$pid\" \"$dir/log\" >&2 &\n  shown=$!\n  trap 'kill \"$shown\" 2> /dev/null; tell \"the upgrade goes on by itself; run this again to see what becomes of it\"; exit 130' INT TERM HUP\n  wait \"$shown\" || true\n  status=1\n  if [ -e \"$dir/status\" ]; then\n    read -r status < \"$dir/status\"\n  elif is_upgrading; then\n    # Nobody reads what this says any more.\n    exit 130\n  else\n    tell 'the upgrade was cut off: run this again'\n  fi\n}\n\nmain() {\n  set -eu\n  umask 077\n  [ \"$(id -u)\" -eq 0 ] || fail 'run it as root'\n  have nix-store || fail 'this machine has no Nix'\n  have flock || fail 'this machine has no flock, which every NixOS has'\n  state=${BENTO_STATE:-/var/bento}\n  dir=${BENTO_RUN:-/run/bento}/bootstrap\n  mkdir -p \"$dir\"\n  scratch=$(mktemp -d)\n  trap 'chmod -R u+w \"$scratch\"; rm -rf \"$scratch\"' EXIT\n  trap 'exit 130' INT TERM HUP\n  if is_upgrading; then\n    tell 'an upgrade that was started before is still going on:'\n  else\n    find_key\n    if [ -n \"$pinned\" ] && [ \"$actual\" != \"$pinned\" ]; then\n      fail \"this machine's key is not the one that fleet.yaml has for $host. Its line there must be:\n  key: \\\"$actual root@$host\\\"\"\n    fi\n    unpack_agent\n    export BENTO_HOST=\"$host\" BENTO_KEY=\"$key\" BENTO_CONFIG=\"${BENTO_CONFIG:-$bento/bento.json}\"\n    export BENTO_HEALTH_CHECKS=\"${BENTO_HEALTH_CHECKS:-$bento/checks}\"\n    # Somebody is here, and runs this again because it failed before.\n    export BENTO_BACKOFF=\"${BENTO_BACKOFF:-0}\"\n    be_let_in\n    start_upgrade\n  fi\n  follow_upgrade\n  # A git remote may let in whom the fleet doesn't know.\n  if [ -z \"$pinned\" ] && [ \"$status\" -eq 0 ] && [ ! -e \"$state/seen.json\" ]; then\n    tell 'if this machine is not in the fleet yet:'\n    say_entry\n  fi\n  exit \"$status\"\n}\n\n# Standard input is this script itself, when it comes through a pipe: nothing that it runs may read it.\nmain < /dev/null\n";
// src/commands/bootstrap/check.sh
var check_default = "#!/bin/sh\n# The health check of the first upgrade: that the release's own agent, with its own settings and key, reaches the server. It is\n# what polls from then on, and without it nobody would.\nagent=${BENTO_RUNNING:-/run/current-system}/sw/bin/bento-agent\nif [ ! -x \"$agent\" ]; then\n  echo 'the release has no agent: set services.bento.enable in its configuration'\n  exit 1\nfi\n# Its settings are its own, and none of those that bootstrap was given.\nword=$(env -i PATH=\"$PATH\" HOME=/root \"$agent\" contact 2>&1 < /dev/null) && exit 0\necho \"the release's own agent does not get in at the server: $(echo \"$word\" | tail -n 1)\"\nexit 1\n";
// src/commands/bootstrap/takeover.sh
var takeover_default = "# shellcheck shell=sh\n# A machine that the 2022 Bento looks after: its timer runs update.sh in /var/bento. All that is there moves to /var/bento.2022,\n# and nothing of it is deleted. In its place comes the agent's state, with an update.sh of ours, the way back: whatever becomes of\n# the takeover (power lost, the machine back in its old system), the old timer itself finds that and puts all back.\n#\n#   /var/bento        the agent's state, and the way back\n#   /var/bento.2022   what was in /var/bento\n#   /var/bento.agent  the agent's state where the old Bento goes on, until it is taken over again\n#\n# Each step is one rename, so that it can be cut off anywhere and run again. upgrade, which reads this, sets $state and $here.\n# shellcheck disable=SC2154\n\ntakeover() { echo \"takeover: $1\"; }\n\n# is_ours FILE: whether an update.sh is the way back.\nis_ours() { grep -q '^# bento bootstrap: the way back' \"$1\" 2> /dev/null; }\n\ntake_over() {\n  # Cut off between two renames.\n  if [ ! -e \"$state\" ] && [ -d \"$state.2022\" ] && [ -d \"$state.agent\" ]; then\n    takeover 'goes on where it was cut off'\n    mv \"$state.agent\" \"$state\" && sync \"${state%/*}\"\n    return\n  fi\n  if [ ! -e \"$state/update.sh\" ] || is_ours \"$state/update.sh\"; then return 0; fi\n  takeover 'the Bento of 2022 looks after this machine'\n  stop_old_timer || return 75\n  set_aside \"$state.2022\"\n  if ! exchange; then\n    start_old_timer\n    return 1\n  fi\n  takeover \"what was in $state is in $state.2022 now\"\n  # It finds the way back there, should this not come to an end.\n  start_old_timer\n}\n\nexchange() {\n  mkdir -p \"$state.agent\" &&\n    cp \"$here/way-back\" \"$state.agent/.update.sh.new\" &&\n    mv \"$state.agent/.update.sh.new\" \"$state.agent/update.sh\" &&\n    sync \"$state.agent/update.sh\" \"$state.agent\" &&\n    mv \"$state\" \"$state.2022\" &&\n    mv \"$state.agent\" \"$state\" &&\n    sync \"${state%/*}\"\n}\n\n# set_aside DIRECTORY: one of an earlier takeover keeps its contents, under another name.\nset_aside() { [ ! -e \"$1\" ] || mv \"$1\" \"$1.$(date +%s)\"; }\n\n# stop_old_timer: fails when an upgrade of the old Bento is going on, which is left to come to its end.\nstop_old_timer() {\n  has_systemd || return 0\n  systemctl stop bento-upgrade.timer || true\n  case $(systemctl show --property=ActiveState bento-upgrade.service) in\n    *=active | *=activating | *=deactivating)\n      start_old_timer\n      takeover 'an upgrade of its own is going on: run this again when that has ended (systemctl status bento-upgrade)'\n      return 1\n      ;;\n  esac\n  takeover 'stopped its timer'\n}\n\nstart_old_timer() { ! has_systemd || systemctl start bento-upgrade.timer || true; }\n\nhas_systemd() { [ -d /run/systemd/system ] && [ \"${BENTO_GUARD:-systemd}\" = systemd ]; }\n\n# settle_takeover: after the upgrade. The way back itself knows whether it is needed.\nsettle_takeover() {\n  is_ours \"$state/update.sh\" || return 0\n  (cd \"$state\" && sh ./update.sh settle)\n}\n";
// src/commands/bootstrap/upgrade.sh
var upgrade_default = "#!/bin/sh\n# upgrade DIRECTORY: the part of bootstrap that a lost connection, or whoever started it going away, can't cut off. What it says\n# is in DIRECTORY/log, its process in DIRECTORY/pid, and in the end its exit status in DIRECTORY/status.\nset -u\numask 077\ndir=$1\nhere=$(dirname \"$0\")\n# For takeover.sh.\n# shellcheck disable=SC2034\nstate=${BENTO_STATE:-/var/bento}\n\n# shellcheck source-path=SCRIPTDIR\n# shellcheck source=takeover.sh\n. \"$here/takeover.sh\"\n\n# put FILE TEXT: whoever waits for it never sees half of it.\nput() { echo \"$2\" > \"$dir/$1.new\" && mv \"$dir/$1.new\" \"$dir/$1\"; }\n\nend() {\n  put status \"$1\"\n  exit \"$1\"\n}\n\n# Neither the agent nor what it starts has the lock: its guard may be there longer.\nupgrade() { bash \"$here/agent/bento-agent\" upgrade 8>&-; }\n\nmain() {\n  trap '' HUP PIPE\n  exec 8> \"$dir/lock\"\n  flock -n 8 || exit 75\n  exec > \"$dir/log\" 2>&1\n  put pid $$\n\n  take_over || end $?\n  # An attempt that was cut off is brought to its end first, which is an attempt of its own.\n  if [ -e \"$state/intent.json\" ]; then upgrade || true; fi\n  status=0\n  upgrade || status=$?\n  settle_takeover || [ \"$status\" -ne 0 ] || status=1\n  end \"$status\"\n}\n\nmain < /dev/null\n";
// src/commands/bootstrap/way-back.sh
var way_back_default = "#!/bin/sh\n# bento bootstrap: the way back to the Bento of 2022, in the place of its update.sh, which its timer runs in /var/bento. That timer\n# is there only while the old system runs. So, unless a release is about to take effect, this puts back what was here, and the old\n# Bento goes on. Not needed any more when the machine is to stay as it is: it may be removed, and /var/bento.2022 with it.\n#\n#   update.sh          put all back, and run the old update.sh\n#   update.sh settle   put all back where the takeover has failed, and say so\n{\n  state=$PWD\n  run=${BENTO_RUN:-/run/bento}\n\n  running=${BENTO_RUNNING:-/run/current-system}\n\n  # Whether the system that runs is a release, or has the agent that takes them.\n  is_release() {\n    [ -x \"$running/sw/bin/bento-agent\" ] || grep -qF \"\\\"$(readlink -f \"$running\")\\\"\" applied.json 2> /dev/null\n  }\n\n  # Whether a release waits for the restart after this boot.\n  is_staged() { grep -qF \"\\\"$(cat /proc/sys/kernel/random/boot_id)\\\"\" trial.json 2> /dev/null; }\n\n  # Whether the takeover goes on: its process, and not another one that has its number by now.\n  goes_on() {\n    [ ! -e \"$run/bootstrap/status\" ] && read -r pid 2> /dev/null < \"$run/bootstrap/pid\" &&\n      grep -q \"$run/bootstrap\" \"/proc/$pid/cmdline\" 2> /dev/null\n  }\n\n  if is_release; then\n    echo \"takeover: done. The old things are in $state.2022, which may be removed; so may $state/update.sh, the way back\"\n    exit 0\n  elif is_staged; then\n    echo \"takeover: done, from the next restart on. The old things are in $state.2022\"\n    exit 0\n  elif [ \"${1:-}\" != settle ] && goes_on; then\n    echo 'takeover: it is going on'\n    exit 0\n  elif [ ! -d \"$state.2022\" ]; then\n    echo \"takeover: there is no $state.2022 to go back to\" >&2\n    exit 1\n  fi\n  [ ! -e \"$state.agent\" ] || mv \"$state.agent\" \"$state.agent.$(date +%s)\"\n  mv \"$state\" \"$state.agent\" && mv \"$state.2022\" \"$state\" && sync \"${state%/*}\" || exit 1\n  echo \"takeover: undone, the Bento of 2022 goes on; what the agent knows is in $state.agent\"\n  [ \"${1:-}\" != settle ] || exit 0\n  cd \"$state\" && exec /bin/sh ./update.sh\n  exit\n}\n";
// src/commands/bootstrap.ts
/**
* Makes the script that brings a machine into the fleet: the agent, its settings and the host's name in one file. It holds no
* secret.
* @throws FleetError when the host isn't in fleet.yaml, or has no key yet; for a new one, when it has.
*/
async function bootstrap(options) {
	const fleet = await loadFleet(options.fleet);
	const { name, key, enter } = options.isNew ? newHost(fleet, options.host) : knownHost(fleet, options.host);
	if ((await staleFiles(fleet)).length > 0) throw new FleetError(`${AGENT_FILE} is not what fleet.yaml says`, { hint: "run 'bento render' and commit the result" });
	return {
		version: 1,
		command: "bootstrap",
		hosts: [{
			name,
			status: "ok",
			script: bootstrap_default.replace("@host@", name).replace("@key@", key).replace("@enter@", enter).replace("@server@", fleet.server?.address ?? "").replace("@archive@", await packedAgent(options.fleet))
		}]
	};
}
function knownHost(fleet, name) {
	const [host] = selectHosts(fleet.hosts.filter((candidate) => candidate.declared), [name]);
	if (host === void 0) throw new FleetError(`no host is called '${name}'`);
	if (host.key === null) throw new FleetError(`${host.name} has no key in fleet.yaml yet`, { hint: `bento bootstrap ${host.name} --new | ssh root@${host.name} sh says which line it must have` });
	return {
		name: host.name,
		key: withoutComment(host.key),
		enter: ""
	};
}
function newHost(fleet, name) {
	const valid = hostName.safeParse(name);
	if (!valid.success) throw new FleetError(`'${name}' ${valid.error.issues[0]?.message ?? "is no host name"}`);
	const host = fleet.hosts.find((candidate) => candidate.name === name);
	if (host?.declared && host.key !== null) throw new FleetError(`${name} has a key in fleet.yaml already`, { hint: `bento bootstrap ${name}, without --new` });
	return {
		name,
		key: "",
		enter: host?.declared ? "" : `bento host add ${name}`
	};
}
function withoutComment(key) {
	return key.split(" ").slice(0, 2).join(" ");
}
/** What goes beside the agent: see bootstrap/upgrade.sh, which runs it. */
const PROGRAMS = {
	upgrade: upgrade_default,
	"takeover.sh": takeover_default,
	"way-back": way_back_default,
	"checks/agent-reaches-server": check_default
};
/** The fleet's own copy of the agent where it has one, as its hosts will, and what runs it; base64 of the gzipped NAR, in lines. */
async function packedAgent(fleet) {
	try {
		var _usingCtx$3 = _usingCtx();
		const directory = _usingCtx$3.a(await temporaryDirectory());
		const own = path.join(fleet, "utils/agent");
		const bundle = path.join(directory.path, "bento");
		await mkdir(bundle);
		await cp(existsSync(own) ? own : path.join(packageRoot(), "utils/agent"), path.join(bundle, "agent"), { recursive: true });
		await copyFile(path.join(fleet, AGENT_FILE), path.join(bundle, "bento.json"));
		await mkdir(path.join(bundle, "checks"));
		for (const [name, text] of Object.entries(PROGRAMS)) await writeFile(path.join(bundle, name), text, { mode: 493 });
		const { bytes } = await archive(bundle);
		return (bytes.toString("base64").match(/.{1,120}/g) ?? []).join("\n");
	} catch (_) {
		_usingCtx$3.e = _;
	} finally {
		await _usingCtx$3.d();
	}
}
// src/publish/server-findings.ts
const KIND = 61440;
const DIRECTORY = 16384;
const REGULAR = 32768;
const SYMLINK = 40960;
/** setgid, so that each can read what the other puts in, and nothing for others. */
const SHARED = 1512;
/** Milliseconds between the server's clock and this one's that aren't worth a word. */
const MAX_DRIFT = 6e4;
/** Bytes; below that, or a twentieth of the disk, it is nearly full. */
const MIN_FREE = 268435456;
const PROVISION = "set the server up again from fleet.json: utils/fleet.nix or utils/server/provision";
/**
* What is wrong with a server. `hosts` are those that fleet.json has, `others` the fleet's that have no key yet; `now` is this
* machine's time in milliseconds, at which `view` was taken.
*/
function serverFindings(view, others, now) {
	return [
		...rootFindings(view),
		...[...view.hosts.keys()].flatMap((host) => hostFindings(view, host)),
		...sharedNumbers(view),
		...leftovers(view, others),
		...protocolFindings(view),
		...resourceFindings(view, now)
	];
}
function finding(host, path, message, hint = PROVISION) {
	return {
		host,
		path,
		message,
		hint
	};
}
function rootFindings({ root, lockDirectory, made }) {
	const found = [];
	if (root !== void 0) found.push(...rootsOwn(null, "/", root));
	if (!isDirectory(lockDirectory)) found.push(finding(null, "/.bento", "the directory of the lock is missing, so nothing can be deployed"));
	else if (made === void 0) found.push(finding(null, "/.bento", "the publisher can't write there, so nothing can be deployed"));
	else if (permissions(lockDirectory) !== 448 || lockDirectory.uid !== made.uid) found.push(finding(null, "/.bento", `${is(lockDirectory)}; it must be the publisher's, with mode 0700`));
	return found;
}
/** sshd refuses a chroot that isn't root's alone. */
function rootsOwn(host, path, directory) {
	if (directory.uid === 0 && (permissions(directory) & 18) === 0) return [];
	return [finding(host, path, `${is(directory)}; it must be root's, with mode 0755, or sshd refuses the login`)];
}
function hostFindings({ hosts, made }, host) {
	const { chroot, releases, reports, tree } = hosts.get(host) ?? {};
	if (!isDirectory(chroot)) return [finding(host, `/${host}`, "it has no chroot on the server")];
	const found = rootsOwn(host, `/${host}`, chroot);
	const shared = (name, directory, whose, isRight) => {
		if (!isDirectory(directory)) found.push(finding(host, `/${host}/${name}`, "it is missing"));
		else if (permissions(directory) !== SHARED || !isRight(directory)) found.push(finding(host, `/${host}/${name}`, `${is(directory)}; it must be ${whose}, with mode 2750`));
	};
	const publisher = made?.uid;
	const isPublishers = ({ uid, gid }) => (publisher === void 0 || uid === publisher) && gid !== 0 && gid !== made?.gid;
	const isHosts = ({ uid, gid }) => uid !== 0 && uid !== publisher && (made === void 0 || gid === made.gid);
	const fromPublisher = "the publisher's and of the host's group";
	const fromHost = "the host's and of the publisher's group";
	shared("releases", releases, fromPublisher, isPublishers);
	shared("reports", reports, fromHost, isHosts);
	if (!tree) return found;
	shared("trees", tree.trees, fromPublisher, isPublishers);
	shared("logs", tree.logs, fromHost, isHosts);
	const { config, last_change_date: date } = tree;
	if (kindOf(config) !== SYMLINK || config?.uid !== 0) found.push(finding(host, `/${host}/config`, "it is no symlink of root's to trees/config"));
	if (date === void 0 || kindOf(date) !== REGULAR || permissions(date) !== 416 || !isPublishers(date)) found.push(finding(host, `/${host}/last_change_date`, `it is no file that is ${fromPublisher}, with mode 0640`));
	return found;
}
/** Hosts of one number could read, and write, each other's files if ever they got to them. */
function sharedNumbers({ hosts }) {
	const by = (what, number) => [...Map.groupBy(hosts.keys(), number)].flatMap(([value, names]) => value === void 0 || value === 0 || names.length < 2 ? [] : [finding(null, null, `${names.join(" and ")} have the same ${what}, ${value}`, "give each host its own login")]);
	return [...by("group", (host) => hosts.get(host)?.releases?.gid), ...by("login", (host) => hosts.get(host)?.reports?.uid)];
}
function leftovers({ names, hosts }, others) {
	return names.filter((name) => !name.startsWith(".") && !hosts.has(name) && !others.includes(name)).sort().map((name) => finding(null, `/${name}`, "no host of the fleet has it", "remove it on the server, if nothing in it is needed any more"));
}
function protocolFindings({ missingExtensions, runsCommands, forwards }) {
	const sftpOnly = "give the fleet's logins 'ForceCommand internal-sftp' and 'DisableForwarding yes' in sshd_config";
	return [
		...missingExtensions.map((name) => finding(null, null, `the server's sftp has no ${name}`, "use OpenSSH's internal-sftp, of version 6.5 or later")),
		...runsCommands ? [finding(null, null, "the publisher's login runs commands: it has a shell", sftpOnly)] : [],
		...forwards ? [finding(null, null, "the publisher's login is connected further into the server's network", sftpOnly)] : []
	];
}
function resourceFindings({ space, made }, now) {
	const found = [];
	if (space !== void 0) {
		const { bytes, allBytes, files, allFiles } = space;
		const room = "make room where the chroots are";
		if (bytes < Math.min(MIN_FREE, allBytes / 2) || bytes < allBytes / 20) found.push(finding(null, "/", `the disk is nearly full: ${Math.floor(bytes / 1024 / 1024)} MiB are free`, room));
		if (allFiles > 0 && files < allFiles / 20) found.push(finding(null, "/", `the disk has room for ${files} more files only`, room));
	}
	if (made !== void 0 && Math.abs(made.time - now) > MAX_DRIFT) {
		const minutes = Math.round(Math.abs(made.time - now) / 6e4);
		const which = made.time > now ? "ahead of" : "behind";
		found.push(finding(null, null, `the server's clock is ${minutes} min ${which} this machine's`, "let both keep the time by NTP"));
	}
	return found;
}
function isDirectory(it) {
	return kindOf(it) === DIRECTORY;
}
/** Undefined of what isn't there. */
function kindOf(it) {
	return it && it.mode & KIND;
}
function permissions({ mode }) {
	return mode & 4095;
}
function is({ uid, gid, mode }) {
	return `it belongs to ${uid}:${gid} and has mode ${(mode & 4095).toString(8).padStart(4, "0")}`;
}
// src/publish/sftp/inspect.ts
/** What a host has besides, where `server.tree` is set. */
const TREE_PLACES = [
	"trees",
	"logs",
	"config",
	"last_change_date"
];
/** What publishing and what hosts do to be safe rest on. */
const EXTENSIONS = [
	"posix-rename@openssh.com",
	"fsync@openssh.com",
	"hardlink@openssh.com",
	"statvfs@openssh.com"
];
/**
* Looks at everything at once. It leaves nothing behind, and needs no lock. `withTrees`: also at the places of the unpacked
* trees.
*/
async function inspect(session, hosts, withTrees) {
	const { requests } = session;
	const attributes = (file) => requests.lstat(file).catch(ignoreSftpError);
	const views = hosts.map(async (host) => {
		const [chroot, releases, reports, ...places] = await flight(attributes(`/${host}`), attributes(`/${host}/releases`), attributes(`/${host}/reports`), ...withTrees ? TREE_PLACES.map((name) => attributes(`/${host}/${name}`)) : []);
		const [trees, logs, config, date] = places;
		return [host, {
			chroot,
			releases,
			reports,
			tree: withTrees ? {
				trees,
				logs,
				config,
				last_change_date: date
			} : null
		}];
	});
	const [root, lockDirectory, entries, made, space, given, all] = await flight(attributes("/"), attributes(LOCK_DIRECTORY), list$1(session, "/"), makeFile(session), requests.space("/"), session.mustRefuse(), flight(...views));
	return {
		root,
		lockDirectory,
		hosts: new Map(all),
		names: entries.map(({ filename }) => filename),
		made,
		missingExtensions: EXTENSIONS.filter((name) => !requests.has(name)),
		space,
		...given
	};
}
async function makeFile(session) {
	const file = `${LOCK_DIRECTORY}/now-${randomUUID()}`;
	const { requests } = session;
	const make = () => session.withHandle(() => requests.open(file, "wx"), async (handle) => {
		const [stats] = await flight(requests.fstat(handle), requests.close(handle), requests.unlink(file));
		return {
			uid: stats.uid,
			gid: stats.gid,
			time: stats.mtime * 1e3
		};
	});
	return make().catch(ignoreSftpError);
}
// src/commands/server-check.ts
/**
* Says what is wrong with the fleet's server, as far as the publisher can see it; utils/server/check sees more, on the server
* itself. Changes nothing.
* @throws FleetError, UnavailableError
*/
async function serverCheck(context, options) {
	try {
		var _usingCtx$2 = _usingCtx();
		const fleet = await loadFleet(options.fleet);
		const { server } = fleet;
		if (server === null) throw new FleetError("fleet.yaml has no server to check", { hint: "see 'server' in the README" });
		const declared = fleet.hosts.filter((host) => host.declared);
		const hosts = declared.filter((host) => host.key !== null).map((host) => host.name);
		const others = declared.filter((host) => host.key === null).map((host) => host.name);
		const [source] = keysFromEnvironment(context.env, PUBLISHER_KEY);
		const key = _usingCtx$2.a(await openPrivateKey(source, describeKey(PUBLISHER_KEY)));
		const { signal } = context;
		const privateKey = await readFile(key.file);
		const findings = serverFindings(await inspect(_usingCtx$2.a(await SftpSession.connect({
			server,
			privateKey,
			signal,
			silence: SILENCE$1
		})), hosts, server.tree), others, Date.now());
		const failed = new Set(findings.map(({ host }) => host));
		return {
			version: 1,
			command: "server check",
			findings,
			hosts: hosts.map((name) => ({
				name,
				status: failed.has(name) ? "failed" : "ok"
			}))
		};
	} catch (_) {
		_usingCtx$2.e = _;
	} finally {
		await _usingCtx$2.d();
	}
}
// src/render/server-check.ts
/** A line for each finding: where, what, and what to do about it. */
function renderServerCheck({ findings, hosts }, paint) {
	if (findings.length === 0) return `${paint("green", "✓")} the server is as it should be, for ${count(hosts.length, "host")}`;
	return [
		...findings.map(({ host, path, message, hint }) => {
			const where = path ?? host ?? "server";
			return `${paint("red", "✗")} ${paint("bold", inertLine(where))}: ${inertLine(message)} ${paint("dim", `(${hint})`)}`;
		}),
		"",
		count(findings.length, "finding")
	].join("\n");
}
// src/cli/machines.ts
/** Machines that are set up: the server, and those that come into the fleet. */
function addMachineCommands(bento) {
	common(bento.command("server").description("the fleet's server").exitOverride().command("check")).description("say what is wrong with the server, as far as the publisher can see it").action((options) => show$1(options, ({ context, fleet }) => serverCheck(context, { fleet: fleet() }), (document, { paint }) => renderServerCheck(document, paint)));
	common(bento.command("bootstrap <host>")).description("print the script that brings a machine into the fleet: bento bootstrap HOST | ssh root@MACHINE sh").option("--new", "for a machine that has no key in fleet.yaml yet: the script prints what to enter there").action((name, options) => show$1(options, ({ fleet }) => bootstrap({
		fleet: fleet(),
		host: name,
		isNew: options.new === true
	}), (document) => document.hosts.map(({ script }) => script).join("")));
}
// src/nix/copy.ts
/**
* Copies a closure to the store of a machine, over ssh; what its own substituters have it gets from there. Gives null when it is
* there.
* @throws FleetError when an option of ssh's can't be passed on.
*/
async function copyClosure(nix, storePath, target, { sshOptions, sudo, onOutput }) {
	const odd = sshOptions.find((option) => /\s/.test(option));
	if (odd !== void 0) throw new FleetError(`Nix can't pass on to ssh what has blanks in it: '${odd}'`);
	const inherited = process.env.NIX_SSHOPTS ?? "";
	const run = await nix.run("nix", [
		"copy",
		"--no-check-sigs",
		"--substitute-on-destination",
		"--to",
		storeUrl(target, sudo),
		storePath
	], {
		env: { NIX_SSHOPTS: [inherited, ...sshOptions].join(" ").trim() },
		onStderr: onOutput
	});
	if (run.status === 0) return null;
	const lines = run.stderr.split("\n").filter((line) => line.trim() !== "");
	return {
		message: `its system could not be copied there: ${(lines.findLast((line) => line.startsWith("error:")) ?? lines.at(-1) ?? `status ${run.status}`).replace(/^error: */, "")}`,
		trace: run.stderr
	};
}
/** As Nix's legacy ssh store has it, which is the one that needs no trusted user on a machine without a daemon. */
function storeUrl({ user, address }, sudo) {
	const host = address.includes(":") ? `[${encodeURIComponent(address).replaceAll("%3A", ":")}]` : address;
	const program = sudo ? "?remote-program=sudo%20-n%20nix-store" : "";
	return `ssh://${user === null ? "" : `${user}@`}${host}${program}`;
}
// src/reach/ssh.ts
/** Seconds for a connection; and without a sign of life, after which one counts as lost. */
const CONNECT_TIMEOUT = 15;
const SILENCE = 5;
/** Bytes that a machine may say in one session, of one line of it, and of its last words on stderr. */
const MAX_SAID = 32 * 1024 ** 2;
const MAX_LINE = 4096;
/** What ssh is given before the address, also by Nix. */
function sshOptions(target, { config, interactive }) {
	return [
		...config === null ? [] : ["-F", config],
		...target.port === null ? [] : ["-p", String(target.port)],
		...[
			"-o",
			`BatchMode=${interactive ? "no" : "yes"}`,
			"-o",
			`ConnectTimeout=${CONNECT_TIMEOUT}`
		],
		...[
			"-o",
			`ServerAliveInterval=${SILENCE}`,
			"-o",
			"ServerAliveCountMax=3"
		],
		...[
			"-o",
			"ClearAllForwardings=yes",
			"-o",
			"ForwardAgent=no",
			"-o",
			"RemoteCommand=none"
		]
	];
}
/** `user@address`, or the address alone. */
function sshDestination({ user, address }) {
	return user === null ? address : `${user}@${address}`;
}
/**
* Runs a POSIX shell script on a machine. It comes over standard input, so that no login shell has to understand it. `onLine` is
* given each line of its output as it comes, cut where it is longer than any line should be; foreign text.
*/
async function runThere(target, script, options, signal, onLine) {
	const decoder = new StringDecoder("utf8");
	const enough = new AbortController();
	let rest = "";
	let said = 0;
	let stderr = "";
	const args = [
		"-T",
		...sshOptions(target, options),
		"--",
		sshDestination(target),
		"sh"
	];
	const { status } = await run("ssh", args, {
		input: Buffer.from(script),
		signal,
		kill: enough.signal,
		keepNothing: true,
		onStdout: (data) => {
			if (enough.signal.aborted) return;
			said += data.length;
			if (said > MAX_SAID) enough.abort();
			const lines = (rest + decoder.write(data)).split("\n");
			rest = (lines.pop() ?? "").slice(0, MAX_LINE);
			for (const line of lines) onLine(line.slice(0, MAX_LINE));
		},
		onStderr: (text) => {
			stderr = (stderr + text).slice(-65536);
		}
	});
	if (rest !== "") onLine(rest);
	return {
		status,
		problem: stderr.split("\n").filter((line) => line.trim() !== "").at(-1)?.trim() ?? "",
		overflowed: enough.signal.aborted
	};
}
/** A word that a machine can't have said before it was told. */
function nonce() {
	return `bento-${randomBytes(16).toString("hex")}`;
}
// src/reach/agent-status.ts
/** What `bento-agent status --json` prints on a host. All of it is foreign, and its texts are made one inert line. */
const line = string().transform((text) => inertLine(text, 300));
const agentStatusSchema = object({
	version: literal$1(1),
	host: line,
	running: line.nullable().catch(null),
	/** Of the release that it runs. */
	sequence: int().nonnegative().nullable().catch(null),
	last: object({
		sequence: int().nonnegative().nullable().catch(null),
		outcome: _enum(OUTCOMES),
		reason: line.nullable().catch(null),
		started: line
	}).nullable().catch(null),
	suspended: object({
		until: line.nullable().catch(null),
		reason: line.nullable().catch(null)
	}).nullable().catch(null),
	upgrading: boolean().catch(false)
});
/** Null for what is none of version 1. */
function parseAgentStatus(text) {
	try {
		return agentStatusSchema.safeParse(JSON.parse(text)).data ?? null;
	} catch {
		return null;
	}
}
// src/reach/outcome.ts
/** An attempt that the agent didn't make, since the release failed before, or somebody has chosen another system there. */
const NOT_TRIED = / failed before, and is tried again in | is not (tried|activated) again$/;
/** What became of an upgrade: of an attempt that came to something there is a report, of all others only what was said. */
function judge({ before, after, exit, lastLine }) {
	const { last } = after;
	if (last !== null && last.started !== before.last?.started) return {
		ok: [
			"success",
			"unchanged",
			"auto-updated"
		].includes(last.outcome),
		outcome: last.outcome,
		reason: last.reason,
		attempted: last.sequence
	};
	const attempted = null;
	const said = lastLine === "" ? null : lastLine;
	if (exit === null) return {
		ok: false,
		outcome: null,
		reason: "it doesn't say what became of the upgrade",
		attempted
	};
	if (exit !== 0) return {
		ok: false,
		outcome: null,
		reason: said ?? `the agent ended with status ${exit}`,
		attempted
	};
	if (said !== null && NOT_TRIED.test(said)) return {
		ok: false,
		outcome: null,
		reason: said,
		attempted
	};
	return {
		ok: true,
		outcome: "unchanged",
		reason: said,
		attempted
	};
}
// src/reach/session.sh
var session_default = "# shellcheck shell=sh disable=SC2154 # nonce, host, verb and skip come from what is put before this\n# What is run on a host to upgrade it (verb=upgrade), to hear how an upgrade goes on but for the first $skip lines (verb=follow), to\n# wait for its end (verb=wait), or to hear how it is (verb=status). It ends each part of what it prints with a line that begins\n# with $nonce. It comes over standard input itself, which nothing that is run here may read from.\nbento=$(command -v bento-agent) || { echo \"$nonce missing\"; exit 0; }\nif [ \"$(id -u)\" = 0 ]; then\n  root=yes\n  agent() { \"$bento\" \"$@\"; }\nelif sudo -n \"$bento\" version < /dev/null > /dev/null 2>&1; then\n  root=yes\n  agent() { sudo -n \"$bento\" \"$@\"; }\n  echo \"$nonce sudo\"\nelse\n  # Members of a group may, through the agent's socket.\n  root=\n  agent() { \"$bento\" \"$@\"; }\nfi\n\nstatus=$(agent status --json < /dev/null) || { echo \"$nonce forbidden\"; exit 0; }\nprintf '%s\\n%s before\\n' \"$status\" \"$nonce\"\n# In JSON no text has a quote of its own in it that isn't escaped.\ncase $status in *\"\\\"host\\\": \\\"$host\\\"\"*) ;; *) exit 0 ;; esac\n\n# said: what the attempt that is running says, to its end; or else what the last one has said.\nsaid() {\n  case $status in\n    *'\"upgrading\": true'*) agent log -f < /dev/null 2>&1 ;;\n    *) agent log < /dev/null 2>&1 ;;\n  esac\n}\n\ncase $verb in\n  upgrade)\n    case $status in *'\"suspended\": null'*) ;; *) exit 0 ;; esac\n    # As the timer makes it, so that it goes on whatever becomes of this connection.\n    if [ -n \"$root\" ]; then\n      echo upgrade | agent serve\n    else\n      agent upgrade < /dev/null 2>&1\n      echo \"exit $?\"\n    fi\n    ;;\n  # What was shown already doesn't come over the line again.\n  follow) said | { [ \"$skip\" = 0 ] || sed -u \"${skip}q\" > /dev/null; cat; } ;;\n  wait) said | tail -n 1 ;;\nesac\nprintf '%s log\\n' \"$nonce\"\nagent status --json < /dev/null\nprintf '%s after\\n' \"$nonce\"\n";
// src/reach/upgrade.ts
/** Milliseconds between two tries to connect again. */
const PAUSE = 2e3;
/** Connections to a host that answers each time, and never comes to an end. */
const MAX_CONNECTIONS = 100;
/** Lines of one upgrade that are shown, however fast they come, and of those beyond in each second. */
const SHOWN_FREELY = 1e4;
const SHOWN_PER_SECOND = 100;
/**
* Has a host's agent make an attempt now, or follows the one that it is making already, to its end. When the connection breaks,
* as an upgrade of the network makes it, the attempt goes on there, and is followed again as soon as it can be.
* @throws InterruptedError; anything else that goes wrong is in the result.
*/
async function upgradeThere(host, options) {
	const log = new Log(options.onLine);
	const first = await talk(host, "upgrade", options, log);
	const { before } = first;
	const problem = objection(host, first);
	if (before === null || problem !== null) return failed(host, before, problem ?? UNINTELLIGIBLE);
	let { after, exit } = first;
	let deadline = Date.now() + options.patience;
	let { failure } = first;
	if (after === null && !first.overflowed) options.onLine(`${failure?.message ?? "the connection broke"}: the upgrade goes on there`);
	let overflowed = first.overflowed;
	let verb = "follow";
	for (let connections = 1; after === null; connections++) {
		if (overflowed) {
			if (verb === "wait") return failed(host, before, failure ?? UNINTELLIGIBLE);
			verb = "wait";
			options.onLine("… it says more than is followed here; it is in the log there, and its end is waited for");
		}
		if (Date.now() > deadline || connections > MAX_CONNECTIONS) return failed(host, before, {
			message: `it can't be reached any more: ${failure?.message ?? "no reason given"}; what became of the upgrade isn't known`,
			hint: "bento status says so as soon as it reports; a system that isn't confirmed is undone by the host itself"
		});
		await setTimeout(PAUSE, void 0, { signal: options.signal }).catch(() => {
			throw new InterruptedError();
		});
		const again = await talk(host, verb, options, log);
		({failure, overflowed} = again);
		if (again.before?.host !== host.name) continue;
		deadline = Date.now() + options.patience;
		if (again.after !== null && !again.after.upgrading) ({after} = again);
		exit = null;
	}
	const verdict = judge({
		before,
		after,
		exit,
		lastLine: log.last
	});
	return {
		result: {
			name: host.name,
			status: verdict.ok ? "ok" : "failed",
			outcome: verdict.outcome,
			reason: verdict.reason,
			sequence: after.sequence,
			running: after.running,
			joined: before.upgrading,
			error: verdict.ok ? null : { message: verdict.reason ?? verdict.outcome ?? "it failed" }
		},
		attempted: verdict.attempted
	};
}
/** What keeps a host's agent from making an attempt, or null; and whether it takes sudo there to be root. */
async function inspectThere(host, options) {
	const silent = {
		...options,
		patience: 0,
		onLine: () => {}
	};
	const found = await talk(host, "status", silent, new Log(silent.onLine));
	return {
		problem: objection(host, found),
		sudo: found.sudo
	};
}
function objection(host, { before, failure }) {
	if (before === null) return failure ?? UNINTELLIGIBLE;
	if (before.host !== host.name) return {
		message: `the machine that ssh: leads to is '${before.host}'`,
		hint: `ssh: of ${host.name} in fleet.yaml; nothing was done there`
	};
	if (before.suspended === null) return null;
	const { until, reason } = before.suspended;
	return {
		message: `upgrades are suspended there${until === null ? "" : ` until ${until}`}${reason === null ? "" : `: ${reason}`}`,
		hint: "bento-agent resume, there"
	};
}
const UNINTELLIGIBLE = {
	message: "what its agent says of itself can't be understood",
	hint: "bento-agent status --json, there"
};
/** One connection, from its beginning to its end. */
async function talk({ name, target }, verb, options, log) {
	const word = nonce();
	const found = {
		before: null,
		after: null,
		exit: null,
		failure: null,
		overflowed: false,
		sudo: false
	};
	let part = [];
	let isLog = false;
	const session = await runThere(target, `nonce=${word} host=${name} verb=${verb} skip=${log.heard}\n${session_default}`, options.ssh, options.signal, (line) => {
		switch (line.startsWith(`${word} `) ? line.slice(word.length + 1) : null) {
			case "missing":
				found.failure = {
					message: "there is no bento-agent",
					hint: `services.bento.enable = true in its configuration, or: bento bootstrap ${name}`
				};
				break;
			case "sudo":
				found.sudo = true;
				break;
			case "forbidden":
				found.failure = FORBIDDEN;
				break;
			case "before":
				found.before = parseAgentStatus(part.join("\n"));
				isLog = true;
				break;
			case "log":
				isLog = false;
				part = [];
				break;
			case "after":
				found.after = parseAgentStatus(part.join("\n"));
				break;
			case null: {
				if (!isLog) {
					if (part.length < 200) part.push(line);
					break;
				}
				const exit = verb === "upgrade" ? /^exit (\d{1,3})$/.exec(line)?.[1] : void 0;
				if (exit === void 0) log.add(line);
				else found.exit = Number(exit);
			}
		}
	});
	if (found.failure === FORBIDDEN && session.problem !== "") found.failure = {
		...FORBIDDEN,
		message: `${FORBIDDEN.message}: ${inertLine(session.problem, 300)}`
	};
	found.overflowed = session.overflowed;
	if (found.failure === null && found.after === null) found.failure = broken(session);
	return found;
}
const FORBIDDEN = {
	message: "its agent doesn't answer",
	hint: "ssh: must lead to root, to somebody who may sudo without a password, or to a member of services.bento.local.group"
};
function broken({ status, problem, overflowed }) {
	if (overflowed) return { message: "it said more than anybody would read, and was cut off" };
	const said = inertLine(problem, 300);
	if (/Host key verification failed/.test(said)) return {
		message: "ssh doesn't know its host key, or knows another one",
		hint: "log in with ssh once and compare it; or bento ssh-config --known-hosts"
	};
	if (status === 255) return { message: `ssh: ${said === "" ? "the connection broke" : said.replace(/^ssh: /, "")}` };
	return { message: said === "" ? `ssh ended with status ${status}` : said };
}
function failed({ name }, before, error) {
	const { sequence = null, running = null, upgrading: joined = false } = before ?? {};
	return {
		result: {
			name,
			status: "failed",
			outcome: null,
			reason: null,
			sequence,
			running,
			joined,
			error
		},
		attempted: null
	};
}
/** The log of an attempt, of whichever connection it comes over. What comes faster than anybody reads is left out. */
var Log = class {
	/** The last line with anything in it, without its time of day. */
	last = "";
	/** How many lines have come. */
	heard = 0;
	#onLine;
	#room = SHOWN_FREELY;
	#second = 0;
	constructor(onLine) {
		this.#onLine = onLine;
	}
	add(text) {
		this.heard += 1;
		const line = inertLine(text, 2e3);
		if (line === "") return;
		this.last = line.replace(/^\d\d:\d\d:\d\d /, "");
		const second = Math.floor(Date.now() / 1e3);
		if (second !== this.#second) this.#room = Math.max(this.#room, SHOWN_PER_SECOND);
		this.#second = second;
		if (this.#room === 0) return;
		this.#room -= 1;
		this.#onLine(this.#room === 0 ? "… it says more than can be shown, which is in the log there" : line);
	}
};
// src/commands/trigger.ts
/** Hosts that are upgraded at the same time. */
const AT_ONCE = 16;
/**
* Has hosts upgrade now, over ssh, and follows each to its end: what they take is what is published for them, as ever.
* @throws FleetError before anything is done when fleet.yaml doesn't say how one of them is reached.
*/
async function trigger(context, options) {
	const hosts = reachable(await loadFleet(options.fleet), options.hosts);
	const [only] = hosts.length === 1 ? hosts : [];
	const ssh = {
		...options.ssh,
		interactive: options.ssh.interactive && only !== void 0
	};
	return {
		version: 1,
		command: "trigger",
		hosts: (await parallel(hosts, AT_ONCE, (host) => upgradeThere(host, {
			ssh,
			signal: context.signal,
			patience: options.patience,
			onLine: (line) => context.output.info(only === void 0 ? `${host.name}: ${line}` : line)
		}))).map(({ result }) => result)
	};
}
/**
* Hosts, and how they are reached.
* @throws FleetError when fleet.yaml doesn't say so of one of them.
*/
function reachable(fleet, patterns) {
	return selectHosts(fleet.hosts.filter((host) => host.declared), patterns).map(reachableHost);
}
function reachableHost({ name, ssh }) {
	const target = ssh === null ? null : parseSshTarget(ssh);
	if (target === null) throw new FleetError(`fleet.yaml doesn't say how ${name} is reached`, { hint: "ssh: root@ADDRESS, in its entry" });
	return {
		name,
		target
	};
}
// src/commands/push.ts
/** Upgrades that are waited for because they were under way already, of an older release. */
const OLDER_ONES = 3;
/**
* Gives one host its release now: it is built here, copied there, published as a deploy of this host, and taken by the host's
* agent at once. The agent does what it does with any release, guard and confirmation included, and the fleet sees one like any
* other; only the waiting and the building there are saved.
* @throws FleetError, UnavailableError; what is wrong with the host itself is in its result.
*/
async function push(context, options) {
	const fleet = await loadFleet(options.fleet);
	const host = oneHost(fleet.hosts, options.host);
	const reach = reachableHost(host);
	if (fleet.server === null && fleet.git === null) throw new FleetError("fleet.yaml has neither a server nor a git remote to publish the release at", { hint: "a host takes only what is published for it: see 'server' and 'git' in the README" });
	keysFromEnvironment(context.env, ...fleet.server === null ? [SIGNING_KEY] : [PUBLISHER_KEY, SIGNING_KEY]);
	const nix = await Nix.find(options.nix, context.signal);
	const { signal, output } = context;
	const nothing = {
		name: host.name,
		status: "failed",
		toplevel: null,
		published: null,
		sequence: null,
		outcome: null,
		reason: null,
		running: null,
		error: null
	};
	const done = (result) => ({
		version: 1,
		command: "push",
		hosts: [{
			...nothing,
			...result
		}]
	});
	const failed = (error, result = {}) => done({
		...result,
		status: "failed",
		error
	});
	output.progress(`asking ${host.name} how it is`);
	const { problem, sudo } = await inspectThere(reach, {
		ssh: options.ssh,
		signal
	});
	if (problem !== null) return failed(problem);
	const publishing = {
		...options,
		hosts: [host.name],
		evaluate: true,
		wave: null
	};
	const refusal = refusalOf(await deploy(context, {
		...publishing,
		dryRun: true
	}));
	if (refusal !== null) return failed(refusal);
	const [system] = (await build(context, {
		...options,
		hosts: [host.name],
		base: null,
		shard: null,
		dirty: false,
		roots: null,
		prune: false,
		signKey: null,
		push: null,
		logs: null
	})).hosts;
	if (system === void 0 || system.toplevel === null || system.error !== null) return failed(system?.error ?? { message: "it could not be evaluated" });
	const { toplevel } = system;
	output.info(`copying ${toplevel}`);
	const copying = await copyClosure(nix, toplevel, reach.target, {
		sshOptions: sshOptions(reach.target, options.ssh),
		sudo,
		onOutput: (text) => {
			for (const line of text.split("\n")) if (line !== "") output.debug(line);
		}
	});
	if (copying !== null) return failed(copying, { toplevel });
	const deployed = await deploy(context, {
		...publishing,
		dryRun: false
	});
	const refused = refusalOf(deployed);
	if (refused !== null) return failed(refused, { toplevel });
	const [release] = deployed.hosts;
	if (release === void 0 || release.sequence === null) throw new Error("what is published has a sequence");
	const { sequence } = release;
	const published = {
		toplevel: release.toplevel,
		published: release.status,
		sequence
	};
	output.info(`release ${sequence} is ${release.status === "published" ? "published" : "published already"}`);
	const upgrade = await upgradeTo(sequence, () => upgradeThere(reach, {
		ssh: options.ssh,
		signal,
		patience: options.patience,
		onLine: output.info
	}));
	const { outcome, reason, running } = upgrade;
	if (upgrade.error !== null) return failed(upgrade.error, {
		...published,
		outcome,
		reason,
		running
	});
	return done({
		...published,
		status: "ok",
		outcome,
		reason,
		running
	});
}
/** Why a deploy leaves its one host without a release of this commit; null when it doesn't. */
function refusalOf({ hosts: [release] }) {
	if (release?.status === "published" || release?.status === "unchanged") return null;
	return release?.error ?? { message: release?.reason ?? "it was not published" };
}
/** The upgrade to a release, after those to older ones that were under way when it was published. */
async function upgradeTo(sequence, attempt) {
	for (let older = 0;; older++) {
		const { result: upgrade, attempted } = await attempt();
		if (upgrade.sequence === sequence || attempted === sequence || upgrade.error !== null && !upgrade.joined) return upgrade;
		if (upgrade.joined && older < OLDER_ONES) continue;
		const what = upgrade.reason === null ? "" : `: ${upgrade.reason}`;
		const error = upgrade.error ?? { message: `it runs release ${upgrade.sequence ?? "?"}, and not ${sequence}${what}` };
		return {
			...upgrade,
			status: "failed",
			error
		};
	}
}
// src/render/ssh-config.ts
/**
* The text of an ssh_config(5). What stands in it was checked when fleet.yaml was read, but for percent signs, which ssh expands.
* `knownHosts` is a file to believe beside the administrator's own.
*/
function sshConfigText(hosts, knownHosts) {
	return `${[["# The hosts of a fleet, made by 'bento ssh-config' from fleet.yaml. In ~/.ssh/config: Include FILE"], ...hosts.map((host) => {
		const { name, user, address, port, key } = host;
		if (address === null) return [`# ${name}: fleet.yaml has no ssh: for it`];
		return [
			`Host ${name}`,
			`  HostName ${literal(address)}`,
			...user === null ? [] : [`  User ${user}`],
			...port === null ? [] : [`  Port ${port}`],
			...knownHosts === null || key === null ? [] : [`  HostKeyAlias ${name}`, `  UserKnownHostsFile "${literal(knownHosts)}" ~/.ssh/known_hosts`]
		];
	})].map((lines) => lines.join("\n")).join("\n\n")}\n`;
}
/** The text of a known_hosts file (sshd(8)): every host that has a key, by its name. */
function knownHostsText(hosts) {
	return hosts.filter(({ address }) => address !== null).flatMap(({ name, key }) => key === null ? [] : [`${name} ${key.split(" ").slice(0, 2).join(" ")}\n`]).join("");
}
function literal(text) {
	return text.replaceAll("%", "%%");
}
function renderSshConfig({ text, files }, isWritten, paint) {
	return isWritten ? renderFiles(files, paint).join("\n") : text;
}
// src/commands/ssh-config.ts
/**
* An ssh_config(5) of the fleet. `key:` of fleet.yaml is what a host logs in at the server with; that its sshd shows the same, as
* it does unless services.bento.key says otherwise, is for the administrator to say, with `knownHosts`.
* @throws FleetError when no host can be reached by ssh, or a path can't stand in an ssh_config.
*/
async function sshConfig(context, options) {
	const fleet = await loadFleet(options.fleet);
	const hosts = selectHosts(fleet.hosts.filter((host) => host.declared), options.hosts).map(({ name, ssh, key }) => {
		const target = ssh === null ? null : parseSshTarget(ssh);
		if (target === null) return {
			name,
			status: "skipped",
			user: null,
			address: null,
			port: null,
			key: null
		};
		return {
			name,
			status: "ok",
			...target,
			key
		};
	});
	if (hosts.every(({ status }) => status === "skipped")) throw new FleetError("fleet.yaml says of none of these hosts how an administrator reaches it", { hint: "ssh: root@ADDRESS, in the host's entry" });
	const knownHosts = options.knownHosts === null ? null : quotable(path.resolve(context.cwd, options.knownHosts));
	const text = sshConfigText(hosts, knownHosts);
	const files = [];
	const write = async (file, content) => {
		await writeFileAtomically(file, content).catch((cause) => {
			throw new FleetError(`${file} can't be written (${cause.code ?? cause.message})`, { cause });
		});
		files.push({
			file,
			status: "written"
		});
	};
	if (knownHosts !== null) await write(knownHosts, knownHostsText(hosts));
	if (options.output !== null) await write(path.resolve(context.cwd, options.output), text);
	return {
		version: 1,
		command: "ssh-config",
		hosts,
		text,
		files
	};
}
/** ssh_config(5) has no way to write these in a quoted path, or makes something else of them. */
function quotable(file) {
	if (/["\\$\p{Cc}]/u.test(file)) throw new FleetError(`a path with '"', '\\' or '$' can't stand in an ssh_config: ${file}`);
	return file;
}
// src/render/push.ts
function renderPush(document, paint, verbose) {
	return document.hosts.flatMap((host) => {
		const ok = host.status === "ok";
		const word = (host.outcome ?? host.status).replaceAll("-", " ");
		const detail = [host.sequence === null ? "nothing was published" : `release ${host.sequence}`, ...host.reason === null ? [] : [inertLine(host.reason)]].join(": ");
		const row = [
			paint(ok ? "green" : "red", ok ? "✓" : "✗"),
			host.name,
			paint(ok ? "green" : "red", word),
			detail
		];
		const { error } = host;
		const more = error === null || error.message === host.reason ? [] : failureLines(error, paint, verbose);
		return [...table([row]), ...more.map((line) => `    ${line}`)];
	}).join("\n");
}
// src/render/trigger.ts
function renderTrigger(document, paint) {
	const lines = table(document.hosts.map((host) => triggerRow(host, paint))).flatMap((line, index) => {
		const host = document.hosts[index];
		return host === void 0 ? [line] : [line, ...triggerError(host, paint)];
	});
	const statuses = document.hosts.map(({ status }) => status);
	return [
		...lines,
		"",
		tally(statuses, ["failed", "ok"])
	].join("\n");
}
function triggerRow(host, paint) {
	const { name, status, outcome, reason, joined } = host;
	const style = status === "ok" ? "green" : "red";
	const word = (outcome ?? status).replaceAll("-", " ");
	const detail = [joined ? "of an upgrade that was running already" : "", reason ?? ""].filter((text) => text !== "");
	return [
		paint(style, status === "ok" ? "✓" : "✗"),
		name,
		paint(style, word),
		inertLine(detail.join("; "))
	];
}
/** What the row doesn't say yet. */
function triggerError({ error, reason, outcome }, paint) {
	if (error === null || error.message === reason || error.message === outcome) return [];
	return failureLines(error, paint, false).map((text) => `    ${text}`);
}
// src/cli/reach.ts
/** What goes to the hosts themselves, over ssh. */
function addReachCommands(bento) {
	withHosts(common(bento.command("ssh-config"))).description("print an ssh_config of the hosts, to be included in one's own").option("--output <file>", "write it to this file").option("--known-hosts <file>", "write the hosts' keys of fleet.yaml to this file, and take them for their ssh host keys").action((options) => show$1(options, ({ context, fleet, hosts }) => sshConfig(context, {
		fleet: fleet(),
		hosts,
		output: options.output ?? null,
		knownHosts: options.knownHosts ?? null
	}), (document, { paint }) => renderSshConfig(document, options.output !== void 0, paint)));
	withSsh(common(bento.command("trigger <host...>"))).description("have hosts upgrade now, over ssh, and follow what they do").action((hosts, options) => show$1(options, ({ context, fleet }) => trigger(context, {
		fleet: fleet(),
		hosts: hosts.flatMap(splitPatterns),
		...sshOptionsOf(context, options)
	}), (document, { paint }) => renderTrigger(document, paint)));
	withSsh(withNix(common(bento.command("push <host>")))).description("give one host its release now: build it here, copy it there, publish it, and follow the upgrade").option("--force", "publish also what is older than, or can't be compared with, what is published", false).option("--wait <duration>", "how long to wait for a deploy that is going on, such as 90s, 30m or 1h", "0").action((name, options) => show$1(options, ({ context, fleet }) => push(context, {
		fleet: fleet(),
		host: name,
		force: options.force,
		wait: parseDuration(options.wait),
		...nixOptions(options),
		...sshOptionsOf(context, options)
	}), (document, { paint, verbose }) => renderPush(document, paint, verbose)));
}
function sshOptionsOf({ cwd }, options) {
	return {
		ssh: {
			config: options.sshConfig === void 0 ? null : path.resolve(cwd, options.sshConfig),
			interactive: process.stdin.isTTY === true
		},
		patience: parseDuration(options.patience)
	};
}
// src/commands/keygen.ts
/**
* Makes the two keys of a fleet's CI: one that signs releases, one that logs in at the server to publish them. Or the key that
* signs what is in its binary cache.
* @throws FleetError when a key is there already, or the directory is in a git repository.
*/
async function keygen(context, options) {
	const directory = path.resolve(context.cwd, options.directory);
	const repository = await Repository.open(nearestExisting(directory)).catch(() => null);
	if (repository !== null) throw new FleetError(`${directory} is in the git repository ${repository.root}, where a private key is one commit from being public`, { hint: "choose a directory elsewhere: bento keygen ~/bento-keys" });
	if (options.cache !== null && !KEY_NAME.test(options.cache)) throw new FleetError(`'${options.cache}' can't be the name of a cache's key`, { hint: "letters, digits, '.', '_' and '-', such as cache.example.org-1" });
	const names = options.cache === null ? ["signing", "publisher"] : ["cache"];
	for (const name of names) {
		const file = path.join(directory, name);
		if (existsSync(file)) throw new FleetError(`${file} is there already`, { hint: "keys are never overwritten: choose another directory" });
	}
	await makeDirectory(directory, 448);
	const keys = [];
	for (const name of names) {
		const file = path.join(directory, name);
		if (options.cache !== null) {
			const { secretKey, publicKey } = makeCacheKey(options.cache);
			await writeFile(file, `${secretKey}\n`, {
				mode: 384,
				flag: "wx"
			});
			await writeFile(`${file}.pub`, `${publicKey}\n`, { flag: "wx" });
			keys.push({
				name,
				file,
				publicKey
			});
			continue;
		}
		const result = await run("ssh-keygen", [
			"-q",
			"-t",
			"ed25519",
			"-N",
			"",
			"-C",
			`bento-${name}`,
			"-f",
			file
		]).catch(needsOpenSsh);
		if (result.status !== 0) throw new FleetError(`ssh-keygen could not make ${file}: ${result.stderr.trim()}`);
		keys.push({
			name,
			file,
			publicKey: (await readFile(`${file}.pub`, "utf8")).trim()
		});
	}
	return {
		version: 1,
		command: "keygen",
		keys
	};
}
/** The directory itself, or the one that it would be made in. */
function nearestExisting(directory) {
	return existsSync(directory) ? directory : nearestExisting(path.dirname(directory));
}
// src/commands/secret/list.ts
/** What each host has, and whether it is encrypted to those who should read it, as far as the files say it without a key. */
async function secretList(options) {
	const fleet = await loadFleet(options.fleet);
	const tracked = await trackedSecrets(fleet.dir);
	const hosts = [];
	for (const host of selectHosts(fleet.hosts, options.hosts)) {
		const secrets = (await secretNames(fleet.dir, host.name)).map(async (name) => {
			const file = secretFile(host.name, name);
			const problem = await problemOf(fleet, host, name).catch(toProblem);
			const untracked = tracked !== null && !tracked.has(file);
			const status = problem === "stale" ? "stale" : problem ? "unusable" : untracked ? "untracked" : "ok";
			return {
				name,
				file,
				status,
				problem: status === "unusable" ? problem : null
			};
		});
		hosts.push({
			name: host.name,
			secrets: await Promise.all(secrets)
		});
	}
	return {
		version: 1,
		command: "secret list",
		hosts,
		warnings: (await secretHosts(fleet.dir)).filter((name) => !fleet.hosts.some((host) => host.name === name)).map((name) => `${SECRETS_DIR}/${name} belongs to no host: git rm -r ${SECRETS_DIR}/${name}`)
	};
}
/** What is wrong with a secret's file, as far as it shows; null when nothing is. */
async function problemOf(fleet, host, name) {
	if (!isSecretName(name)) return "its name is none that a secret can have";
	const is = readersIn(await readSecretFile(fleet.dir, secretFile(host.name, name)));
	if (is === null) return "it is no file of age's";
	if (host.key === null) return `${host.name} has no key in fleet.yaml yet`;
	return JSON.stringify(is) === JSON.stringify(readersOf([host.key, ...fleet.administrators])) ? null : "stale";
}
function toProblem(error) {
	if (error instanceof HostError) return error.message;
	throw error;
}
/** The files below secrets/ that git tracks, relative to the fleet; null outside of a repository. */
async function trackedSecrets(fleet) {
	try {
		const repository = await Repository.open(fleet);
		const prefix = path.relative(repository.root, await realpath(fleet));
		const entries = await repository.tracked(path.posix.join(prefix, SECRETS_DIR));
		return new Set(entries.map((entry) => path.posix.relative(prefix, entry.path)));
	} catch (error) {
		if (error instanceof FleetError) return null;
		throw error;
	}
}
// src/commands/secret/decrypting.ts
/** @throws FleetError when one of those that the user named can't be read, or there is none to try. */
async function identityFiles({ cwd, env }, { identities }) {
	if (identities.length === 0) {
		const usual = ["id_ed25519", "id_rsa"].map((name) => path.join(homeOf(env), ".ssh", name));
		const found = await Promise.all(usual.map((file) => access(file).then(() => [file], () => [])));
		if (found.flat().length > 0) return found.flat();
		throw new FleetError(`there is no key to decrypt with: no ${usual.join(", no ")}`, { hint: "-i FILE says which: the private key of one of fleet.yaml's administrators" });
	}
	const files = identities.map((file) => path.resolve(cwd, file));
	for (const file of files) await access(file).catch((error) => {
		throw new FleetError(`the private key ${file} can't be read (${error.code})`);
	});
	return files;
}
/** What is in a secret's file, which is named relative to the fleet. @throws HostError with that name. */
async function openSecret(context, fleet, file, identities) {
	const content = await readSecretFile(fleet.dir, file);
	try {
		return await decrypt(content, identities, context.signal);
	} catch (error) {
		if (!(error instanceof HostError)) throw error;
		throw new HostError(error.message, {
			at: { file },
			...error.hint === void 0 ? {} : { hint: error.hint },
			cause: error
		});
	}
}
// src/commands/secret/receivers.ts
/** @throws FleetError for a host without a key that age can encrypt to. */
function receivers(hosts) {
	return hosts.map((host) => {
		const { key } = host;
		if (key === null) throw new FleetError(`${host.name} has no key in fleet.yaml yet, and a secret is encrypted to it`, { hint: "on the machine: cat /etc/ssh/ssh_host_ed25519_key.pub, and put it there" });
		if (!canReceive(key)) throw new FleetError(`${host.name} has an ${key.split(" ")[0]} key, which age can't encrypt to`, { hint: "give it its ssh-ed25519 key: on the machine, cat /etc/ssh/ssh_host_ed25519_key.pub" });
		return {
			...host,
			key
		};
	});
}
/** Whom a secret of the host is encrypted to. */
function recipients(fleet, host) {
	return [host.key, ...fleet.administrators];
}
// src/commands/secret/results.ts
/** What became of one secret of a host. */
function result(host, name, status) {
	return {
		name,
		file: secretFile(host.name, name),
		status,
		error: null
	};
}
/** What became of all of them, with what is to be said of that. */
function edited(command, fleet, hosts) {
	const written = hosts.some(([, secrets]) => secrets.some(({ status }) => status === "written"));
	return {
		version: 1,
		command,
		hosts: hosts.map(([{ name }, secrets]) => ({
			name,
			status: secrets.some(({ status }) => status === "failed") ? "failed" : "ok",
			secrets
		})),
		warnings: written && fleet.administrators.length === 0 ? ["fleet.yaml has no administrators: nobody but the host itself can read this, to edit or to rekey it"] : []
	};
}
// src/commands/secret/rekey.ts
/**
* Encrypts secrets anew after keys have changed: of hosts, or of administrators. One that can't be decrypted is left as it is, and
* its host has failed.
*/
async function secretRekey(context, options) {
	const fleet = await loadFleet(options.fleet);
	const work = [];
	for (const host of selectHosts(fleet.hosts, options.hosts)) {
		const chosen = (await secretNames(fleet.dir, host.name)).filter((name) => options.name === null || name === options.name);
		const [receiver] = chosen.length === 0 ? [] : receivers([host]);
		if (receiver !== void 0) work.push([receiver, chosen]);
	}
	if (work.length === 0) throw new FleetError("there is no such secret", { hint: "bento secret list shows all of them" });
	const identities = await identityFiles(context, options);
	const done = [];
	for (const [host, names] of work) {
		const results = [];
		for (const name of names) results.push(await rekey(context, fleet, host, name, identities));
		done.push([host, results]);
	}
	return edited("secret rekey", fleet, done);
}
async function rekey(context, fleet, host, name, identities) {
	const file = secretFile(host.name, name);
	try {
		const [is, should] = [readersIn(await readSecretFile(fleet.dir, file)), readersOf(recipients(fleet, host))];
		if (should.others === 0 && JSON.stringify(is) === JSON.stringify(should)) return result(host, name, "unchanged");
		const value = await openSecret(context, fleet, file, identities);
		const text = await encrypt(value, recipients(fleet, host), context.signal);
		await writeFileAtomically(path.join(fleet.dir, file), text);
		return result(host, name, "written");
	} catch (error) {
		if (!(error instanceof HostError)) throw error;
		return {
			...result(host, name, "failed"),
			error: {
				file,
				...failureOf(error)
			}
		};
	}
}
// src/platform/editor.ts
/** The file systems that never reach a disk, but for swap, by their numbers in statfs(2): tmpfs, ramfs. */
const IN_MEMORY = [16914836, 2240043254];
/**
* Has the user edit a secret, and gives what became of it. It is in a file that only this user can read, in memory where there
* is such a place, and gone when this returns or the program ends.
* @throws FleetError when the editor fails.
*/
async function editSecret(context, name, content) {
	const { env, signal } = context;
	const place = await inMemory(env);
	if (place === null) context.output.warning("this machine has no file system in memory: the secret is on its disk while you edit it");
	const dir = mkdtempSync(path.join(place ?? tmpdir(), "bento-"));
	const remove = () => rmSync(dir, {
		recursive: true,
		force: true
	});
	const hangUp = () => process.exit(129);
	process.on("exit", remove);
	process.on("SIGHUP", hangUp);
	try {
		const file = path.join(dir, name);
		await writeFile(file, content, {
			mode: 384,
			flag: "wx"
		});
		const editor = env.VISUAL || env.EDITOR || "vi";
		const status = await show(editor, file);
		if (signal.aborted) throw new InterruptedError();
		if (status !== 0) throw new FleetError(`the editor '${editor}' ended with status ${status}, and nothing was written`, { hint: "EDITOR says which one to use" });
		return await readFile(file);
	} finally {
		process.off("SIGHUP", hangUp);
		process.off("exit", remove);
		remove();
	}
}
/** The user's own command for it, as a shell reads it: `code --wait`. It has the terminal while it runs. */
function show(editor, file) {
	return new Promise((resolve, reject) => {
		const child = spawn("sh", [
			"-c",
			`${editor} "$1"`,
			"sh",
			file
		], { stdio: "inherit" });
		child.on("error", reject);
		child.on("close", (status) => resolve(status ?? 1));
	});
}
/** A directory in memory, null where there is none: this user's own, or the one that all share. */
async function inMemory(env) {
	for (const dir of [env.XDG_RUNTIME_DIR, "/dev/shm"]) {
		const info = dir ? await statfs(dir).catch(() => void 0) : void 0;
		if (dir && info !== void 0 && IN_MEMORY.includes(info.type)) return dir;
	}
	return null;
}
// src/platform/prompt.ts
/** Milliseconds in which what follows an Enter can only have been pasted with it. */
const PASTE = 100;
const INTERRUPT = "";
const END_OF_FILE = "";
const ENDS = [
	"\r",
	"\n",
	INTERRUPT,
	END_OF_FILE
];
/**
* A secret from standard input: all of it, byte for byte, or a little more than `limit` bytes of what is longer; on a terminal,
* one line that isn't shown.
* @throws FleetError when several lines were pasted; InterruptedError for ^C and ^D, and when `signal` is aborted.
*/
async function readSecret(question, limit, signal) {
	if (process.stdin.isTTY !== true) return piped(process.stdin, limit, signal);
	process.stdin.setRawMode(true);
	try {
		process.stderr.write(question);
		return Buffer.from(firstLine(await typed(process.stdin, signal)));
	} finally {
		process.stdin.setRawMode(false);
		process.stdin.pause();
		process.stderr.write("\n");
	}
}
async function piped(input, limit, signal) {
	const pieces = [];
	let size = 0;
	try {
		for await (const piece of addAbortSignal(signal, input)) {
			pieces.push(piece);
			size += piece.length;
			if (size > limit) break;
		}
	} catch (error) {
		if (signal.aborted) throw new InterruptedError();
		throw error;
	}
	return Buffer.concat(pieces);
}
/** What is typed up to an Enter or another key that ends it, and whatever was pasted with that. */
async function typed(terminal, signal) {
	const decoder = new StringDecoder("utf8");
	let text = "";
	let heard = () => {};
	const add = (piece) => {
		text += piece;
		heard();
	};
	const onData = (data) => add(decoder.write(data));
	const onEnd = () => add(END_OF_FILE);
	const onAbort = () => add(INTERRUPT);
	terminal.on("data", onData).on("end", onEnd);
	signal.addEventListener("abort", onAbort);
	if (signal.aborted) onAbort();
	try {
		while (!ENDS.some((end) => text.includes(end))) await new Promise((resolve) => {
			heard = resolve;
		});
		for (let length = -1; length !== text.length;) {
			length = text.length;
			await setTimeout(PASTE);
		}
		return text;
	} finally {
		terminal.off("data", onData).off("end", onEnd);
		signal.removeEventListener("abort", onAbort);
	}
}
function firstLine(text) {
	const letters = [];
	const all = [...text];
	const end = all.findIndex((letter) => ENDS.includes(letter));
	if (all[end] === INTERRUPT || all[end] === END_OF_FILE) throw new InterruptedError();
	if (all.slice(end).some((letter) => !ENDS.includes(letter))) throw new FleetError("that was more than one line, and nothing was written", { hint: "give a secret of several lines on standard input (< FILE), or with bento secret edit" });
	for (const letter of all.slice(0, end)) if (letter === "" || letter === "\b") letters.pop();
	else if (letter === "") letters.length = 0;
	else letters.push(letter);
	return letters.join("");
}
// src/commands/secret.ts
/**
* Encrypts a value, from standard input or the terminal, to each of the hosts and to the administrators.
* @throws FleetError, with nothing written, when a host can't have secrets or the value is none.
*/
async function secretSet(context, options) {
	checkSecretName(options.name);
	const fleet = await loadFleet(options.fleet);
	const hosts = receivers(selectHosts(fleet.hosts, options.hosts));
	for (const host of hosts) await secretNames(fleet.dir, host.name);
	const names = hosts.map((host) => host.name).join(", ");
	const value = checkValue(await readSecret(`${options.name} for ${names} (it is not shown): `, MAX_SECRET, context.signal));
	return edited("secret set", fleet, await write(context, fleet, hosts, options.name, value));
}
/**
* Opens a secret in the user's editor, or a new one, and encrypts what they leave. Several hosts must have the same value.
* @throws FleetError or HostError, with nothing written.
*/
async function secretEdit(context, options) {
	const { name } = options;
	checkSecretName(name);
	const fleet = await loadFleet(options.fleet);
	const hosts = receivers(selectHosts(fleet.hosts, options.hosts));
	const having = await hostsWith(fleet, hosts, name);
	const lacking = hosts.find((host) => !having.includes(host));
	if (having.length > 0 && lacking !== void 0) throw new FleetError(`${lacking.name} has no secret '${name}', and ${having[0]?.name} has`, { hint: "edit it for those that have it, or give all of them a new value with bento secret set" });
	const identities = having.length === 0 ? [] : await identityFiles(context, options);
	let before = Buffer.alloc(0);
	for (const [index, host] of having.entries()) {
		const value = await openSecret(context, fleet, secretFile(host.name, name), identities);
		if (index > 0 && !value.equals(before)) throw new FleetError(`${having[0]?.name} and ${host.name} have different values of '${name}'`, { hint: "edit each host's own, or give all of them a new value with bento secret set" });
		before = value;
	}
	const after = checkValue(await editSecret(context, name, before));
	if (!after.equals(before)) return edited("secret edit", fleet, await write(context, fleet, hosts, name, after));
	return edited("secret edit", fleet, hosts.map((host) => [host, [result(host, name, "unchanged")]]));
}
/** Removes a secret's files. @throws FleetError when none of the hosts has it. */
async function secretRemove(options) {
	const { name } = options;
	const fleet = await loadFleet(options.fleet);
	const hosts = selectHosts(fleet.hosts, options.hosts);
	const having = await hostsWith(fleet, hosts, name);
	if (having.length === 0) throw nowhere(hosts, name);
	for (const host of having) await rm(path.join(fleet.dir, secretFile(host.name, name)));
	return edited("secret remove", fleet, having.map((host) => [host, [result(host, name, "removed")]]));
}
/** Encrypts to all of the hosts before anything is written. */
async function write(context, fleet, hosts, name, value) {
	const texts = [];
	for (const host of hosts) texts.push([host, await encrypt(value, recipients(fleet, host), context.signal)]);
	for (const [host, text] of texts) await writeFileAtomically(path.join(fleet.dir, secretFile(host.name, name)), text);
	return hosts.map((host) => [host, [result(host, name, "written")]]);
}
async function hostsWith(fleet, hosts, name) {
	const having = [];
	for (const host of hosts) if ((await secretNames(fleet.dir, host.name)).includes(name)) having.push(host);
	return having;
}
function nowhere(hosts, name) {
	const [first, ...others] = hosts.map((host) => host.name);
	const who = others.length === 0 ? `${first} has no` : `none of ${[first, ...others].join(", ")} has a`;
	return new FleetError(`${who} secret '${name}'`, { hint: "bento secret list shows what there is" });
}
function checkValue(value) {
	if (value.length === 0) throw new FleetError("the value is empty, and nothing was written", { hint: "bento secret remove takes one away" });
	if (value.length > MAX_SECRET) throw new FleetError(`a secret has at most ${MAX_SECRET / 1024 ** 2} MiB`);
	return value;
}
// src/render/secret.ts
function renderSecretEdit(document, paint) {
	const results = document.hosts.flatMap((host) => host.secrets);
	const changed = results.some(({ status }) => status === "written" || status === "removed");
	return [
		...results.flatMap((result) => lines(result, paint)),
		...warnings(document.warnings, paint),
		...changed ? [paint("dim", "→ git add secrets, commit, and bento deploy")] : []
	].join("\n");
}
function lines({ file, status, error }, paint) {
	if (error !== null) {
		const [first = "", ...rest] = failureLines(error, paint, false);
		return [`${paint("red", "✗")} ${first}`, ...rest.map((line) => `  ${line}`)];
	}
	if (status === "unchanged") return [paint("dim", `· ${inertLine(file)} is as it was`)];
	return [`${paint("green", "✓")} ${inertLine(file)}${status === "removed" ? " removed" : ""}`];
}
function renderSecretList(document, paint) {
	const rows = document.hosts.flatMap((host) => host.secrets.map(({ name, status, problem }) => [
		host.name,
		inertLine(name),
		state(status, problem, paint)
	]));
	const heading = [
		"HOST",
		"SECRET",
		""
	].map((text) => paint("dim", text));
	return [...rows.length === 0 ? ["There are no secrets."] : table([heading, ...rows]), ...warnings(document.warnings, paint)].join("\n");
}
function state(status, problem, paint) {
	switch (status) {
		case "ok": return "";
		case "stale": return paint("yellow", "encrypted to other keys than fleet.yaml has: bento secret rekey");
		case "untracked": return paint("yellow", "not in git yet: git add secrets");
		case "unusable": return paint("red", inertLine(problem ?? ""));
	}
}
// src/cli/secrets.ts
/** `<host>` is what `--hosts` takes: a name, globs, or @groups, with commas between. */
function addSecretCommands(bento) {
	const secret = bento.command("secret").description("what hosts alone can read: passwords, keys, tokens").exitOverride();
	const showEdit = (options, work) => show$1(options, work, (document, { paint }) => renderSecretEdit(document, paint));
	common(secret.command("set <host> <name>")).description("encrypt a value to a host, or to several: from standard input, or asked for without showing it").action((host, name, options) => showEdit(options, ({ context, fleet }) => secretSet(context, {
		fleet: fleet(),
		hosts: splitPatterns(host),
		name
	})));
	withIdentity(common(secret.command("edit <host> <name>"))).description("open it in $EDITOR").action((host, name, options) => showEdit(options, ({ context, fleet }) => secretEdit(context, {
		fleet: fleet(),
		hosts: splitPatterns(host),
		name,
		identities: options.identity
	})));
	withHosts(common(secret.command("list [host]"))).description("what there is, and what has to be encrypted anew").action((host, options) => show$1(options, ({ fleet, hosts }) => secretList({
		fleet: fleet(),
		hosts: host === void 0 ? hosts : splitPatterns(host)
	}), (document, { paint }) => renderSecretList(document, paint)));
	withIdentity(withHosts(common(secret.command("rekey [host] [name]")))).description("encrypt anew, after keys in fleet.yaml have changed").action((host, name, options) => showEdit(options, ({ context, fleet, hosts }) => secretRekey(context, {
		fleet: fleet(),
		hosts: host === void 0 ? hosts : splitPatterns(host),
		name: name ?? null,
		identities: options.identity
	})));
	common(secret.command("remove <host> <name>")).description("remove its file").action((host, name, options) => showEdit(options, ({ fleet }) => secretRemove({
		fleet: fleet(),
		hosts: splitPatterns(host),
		name
	})));
}
/** The keys of the fleet itself. */
function addKeygenCommand(bento) {
	common(bento.command("keygen <directory>")).description("make the keys that sign and publish releases, or a binary cache's").option("--cache <name>", "make the key that signs a binary cache, of this name: cache.example.org-1").action((directory, options) => show$1(options, ({ context }) => keygen(context, {
		directory,
		cache: options.cache ?? null
	}), (document) => renderKeygen(document)));
}
// src/commands/status/watch.ts
const SHORTEST = 1e3;
/**
* Looks again and again, until it is interrupted, and gives what it saw last. On a terminal the table stays in its place; elsewhere
* it is printed once, and then a line for each host whose state changes. A server that can't be reached is asked again.
* @throws FleetError; UnavailableError when the server is not the pinned one or refuses the key; InterruptedError before the
* first look.
*/
async function watch(context, options, watching) {
	try {
		var _usingCtx$1 = _usingCtx();
		const { paint, interval } = watching;
		if (interval < SHORTEST) throw new FleetError("--interval must be a second at least, such as 10s");
		const screen = _usingCtx$1.u(watching.screen);
		let last;
		let trouble = "";
		const output = {
			...context.output,
			info: (line) => show(inertLine(line))
		};
		screen.onResize(() => show(trouble));
		let fleet;
		try {
			for (;;) {
				try {
					fleet ??= await FleetStatus.open({
						...context,
						output
					}, options);
					const document = await fleet.read();
					const before = last;
					last = document;
					trouble = "";
					if (screen.isLive) show("");
					else if (before === void 0) screen.append(renderStatus(document, paint, Date.parse(document.time)));
					else for (const line of changes(before, document)) screen.append(line);
					await watching.deliver(document).catch(complain);
				} catch (error) {
					if (error instanceof InterruptedError || !(error instanceof UnreachableError)) throw error;
					if (last === void 0) throw error;
					await fleet?.[Symbol.asyncDispose]();
					fleet = void 0;
					show(inertLine(error.message));
				}
				await setTimeout(interval, void 0, { signal: context.signal });
			}
		} catch (error) {
			if (!context.signal.aborted || last === void 0) throw error;
			return last;
		} finally {
			await fleet?.[Symbol.asyncDispose]();
		}
		/** A page that can't be written, or a command that failed, is tried again the next time. */
		function complain(error) {
			if (!(error instanceof UnavailableError)) throw error;
			show(inertLine(error.message));
		}
		function show(line) {
			const isNews = line !== trouble;
			trouble = line;
			if (!screen.isLive) {
				if (line !== "" && isNews) context.output.info(line);
			} else if (last !== void 0) screen.draw(watchLines(last, paint, {
				...sizeOf(screen),
				trouble,
				now: Date.now()
			}));
		}
	} catch (_) {
		_usingCtx$1.e = _;
	} finally {
		_usingCtx$1.d();
	}
}
function sizeOf({ columns, rows }) {
	return {
		columns,
		rows
	};
}
/** A line for each host that is otherwise than before. */
function changes(before, after) {
	return after.hosts.flatMap((host) => {
		const old = before.hosts.find(({ name }) => name === host.name);
		return old?.state === host.state && old.published?.sequence === host.published?.sequence ? [] : [changeLine(after.time, old, host)];
	});
}
// src/platform/screen.ts
/** A terminal that shows the same lines again and again, or a file or a pipe that gets new ones. */
var Screen = class {
	/** Whether lines can be written over. */
	isLive;
	#stream;
	#onResize;
	#isOpen = false;
	constructor(stream) {
		this.#stream = stream;
		this.isLive = stream.isTTY === true;
	}
	/** A terminal that doesn't know its size says 0. */
	get columns() {
		return this.#stream.columns || 80;
	}
	get rows() {
		return this.#stream.rows || 24;
	}
	/** What to do when its size changes. */
	onResize(draw) {
		if (this.#onResize) this.#stream.off("resize", this.#onResize);
		this.#onResize = draw;
		this.#stream.on("resize", draw);
	}
	/**
	* Shows these lines and no others, on a page of their own: what was there before comes back in the end. Each line is written
	* over the one before, and nothing is cleared first, so nothing flickers.
	*/
	draw(lines) {
		const body = lines.slice(0, this.rows).map((line) => `${line}${CLEAR_LINE}`);
		this.#stream.write(`${this.#isOpen ? "" : OPEN}${BEGIN_UPDATE}${HOME}${body.join("\n")}${CLEAR_BELOW}${END_UPDATE}`);
		this.#isOpen = true;
	}
	/** A line behind all others. */
	append(line) {
		this.#stream.write(`${line}\n`);
	}
	[Symbol.dispose]() {
		if (this.#onResize) this.#stream.off("resize", this.#onResize);
		if (this.#isOpen) this.#stream.write(CLOSE);
		this.#isOpen = false;
	}
};
const OPEN = "\x1B[?1049h\x1B[?25l";
const CLOSE = "\x1B[?25h\x1B[?1049l";
const HOME = "\x1B[H";
const CLEAR_LINE = "\x1B[0m\x1B[K";
const CLEAR_BELOW = "\x1B[J";
const BEGIN_UPDATE = "\x1B[?2026h";
const END_UPDATE = "\x1B[?2026l";
// src/cli/status.ts
async function statusAction(options) {
	const now = () => Date.now();
	await show$1(options, async ({ context, fleet, hosts, paint }) => {
		const asked = statusOptions(fleet(), hosts, options);
		const deliver = (document) => deliverStatus(context, document, asked.fleet, options);
		if (options.watch !== true) {
			const document = withLog(await status(context, asked), options);
			await deliver(document);
			return document;
		}
		return await watch(context, asked, {
			screen: new Screen(process.stdout),
			paint,
			interval: parseDuration(options.interval),
			deliver
		});
	}, (document, { paint }) => {
		if (options.watch && !process.stdout.isTTY) return "";
		const [host] = document.hosts;
		if (options.host === void 0 || host === void 0) return renderStatus(document, paint, now());
		if (options.log) return host.log ?? "";
		return renderHostStatus(host, paint, now());
	});
}
/** @throws HostError when there is no log to show. */
function withLog(document, { log }) {
	const [host] = document.hosts;
	if (!log || host?.log !== null) return document;
	throw new HostError(`no log of ${host.name} is at the server: ${host.reason ?? `it is ${host.state.replaceAll("-", " ")}`}`);
}
/** What hosts have reported. */
function addStatusCommand(bento) {
	withHosts(common(bento.command("status"))).description("say how each host is, from what it reported").option("--host <name>", "one host, and what became of its last attempts").option("--log", "with --host: the log of its newest attempt, and nothing else").option("--watch", "go on looking: a table that stays up to date, or elsewhere than on a terminal a line for each change").option("--interval <duration>", "with --watch: how long to wait between two looks, such as 30s or 5m", "10s").option("--html <directory>", "write the fleet as one HTML page there, index.html, with histories and logs").option("--metrics <file>", "write the fleet for Prometheus there, e.g. for node_exporter's textfile collector").option("--notify <command>", "run it for each host that got into trouble, or out of it, since the last time").option("--notify-state <file>", "where it is remembered what was told (default: below $XDG_STATE_HOME/bento)").option("--fail-on <states>", "the states that make the exit status 1, with commas between, or none (default: those in which somebody has to look)").action((options) => statusAction(options));
}
// src/completion/model.ts
const SHELLS = [
	"bash",
	"zsh",
	"fish"
];
/** By what a value is called in the usage: `<directory>`. */
const VALUES = {
	host: "hosts",
	globs: "hosts",
	directory: "directories",
	file: "files",
	files: "files",
	shell: "shells"
};
function commandLine(program) {
	return {
		program: program.name(),
		commands: walk(program, [])
	};
}
function walk(command, words) {
	const shown = command.commands.filter((sub) => sub.name() !== "help");
	const help = {
		flags: ["-h", "--help"],
		description: "how to use it",
		value: null
	};
	return [{
		words,
		description: command.description(),
		options: [...command.options.map(optionWords), help],
		next: shown.map((sub) => ({
			name: sub.name(),
			description: sub.description()
		})),
		argument: valuesOf(command.registeredArguments[0]?.name() ?? "")
	}, ...shown.flatMap((sub) => walk(sub, [...words, sub.name()]))];
}
function optionWords({ short, long, flags, description, required, optional }) {
	const [, placeholder = ""] = /[<[]([^>\]]+)/.exec(flags) ?? [];
	return {
		flags: [short, long].filter((flag) => flag !== void 0 && flag !== null),
		description,
		value: required || optional ? valuesOf(placeholder) : null
	};
}
function valuesOf(name) {
	return VALUES[name] ?? "other";
}
/** The options that take a value of each kind; what an option takes doesn't depend on the command. */
function flagsByValues({ commands }) {
	const found = /* @__PURE__ */ new Map();
	for (const { flags, value } of commands.flatMap(({ options }) => options)) {
		if (value === null) continue;
		const all = found.get(value) ?? /* @__PURE__ */ new Set();
		for (const flag of flags) all.add(flag);
		found.set(value, all);
	}
	return new Map([...found].map(([value, flags]) => [value, [...flags].sort()]));
}
// src/completion/bash.ts
/** A script for bash 4 and later, without bash-completion's own functions. */
function bashCompletion(line) {
	const { program, commands } = line;
	const flags = flagsByValues(line);
	return `# bash completion for ${program}, made by: ${program} completion bash
_${program}() {
  local current=\${COMP_WORDS[COMP_CWORD]} before='' command='' options='' next='' argument=other word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $before in
      ${[...flags.values()].flat().join("|")}) before=''; continue ;;
    esac
    before=$word
    case $command:$word in
${commands.filter(({ words }) => words.length > 0).map(({ words }) => `      '${words.slice(0, -1).join(" ")}:${words.at(-1)}') command='${words.join(" ")}' ;;`).join("\n")}
    esac
  done
  case $command in
${commands.map(({ words, options, next, argument }) => `    '${words.join(" ")}') options='${options.flatMap((option) => option.flags).join(" ")}' next='${next.map(({ name }) => name).join(" ")}' argument=${argument} ;;`).join("\n")}
  esac
  case $before in
${[...flags].map(([values, all]) => `    ${all.join("|")}) argument=${values} next='' ;;`).join("\n")}
    *) if [[ $current == -* ]]; then next=$options argument=other; fi ;;
  esac
  if [[ -n $next ]]; then mapfile -t COMPREPLY < <(compgen -W "$next" -- "$current"); return; fi
  case $argument in
${[
		"hosts",
		"directories",
		"files",
		"shells"
	].map((values) => `    ${values}) ${fill$1(values, program)} ;;`).join("\n")}
  esac
}
complete -F _${program} ${program}
`;
}
function fill$1(values, program) {
	switch (values) {
		case "hosts": return `word=\${current##*,}; mapfile -t COMPREPLY < <(compgen -P "\${current%"$word"}" -W "$(${program} completion hosts 2> /dev/null)" -- "$word")`;
		case "directories": return `compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current")`;
		case "files": return `compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current")`;
		case "shells": return `mapfile -t COMPREPLY < <(compgen -W '${SHELLS.join(" ")}' -- "$current")`;
	}
}
// src/completion/fish.ts
/** Commands for fish: in ~/.config/fish/completions/bento.fish, or sourced. */
function fishCompletion(line) {
	const { program, commands } = line;
	const valued = [...flagsByValues(line).values()].flat();
	const lines = commands.flatMap((command) => [
		...command.next.map(({ name, description }) => complete(program, command, `-a ${name} -d ${quoted$1(description)}`)),
		...command.options.map(({ flags, description, value }) => {
			const names = flags.map((flag) => flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`);
			const takes = value === null ? "" : ` -x${source(value, program)}`;
			return complete(program, command, `${names.join(" ")}${takes} -d ${quoted$1(description)}`);
		}),
		...command.next.length > 0 || command.argument === "other" ? [] : [complete(program, command, source(command.argument, program).trim())]
	]);
	return `# fish completion for ${program}, made by: ${program} completion fish
# Whether the words on the line, without options and what they take, begin with these commands.
function __${program}_at
    set -l given
    set -l before ''
    for word in (commandline -opc)[2..]
        if contains -- $before ${valued.join(" ")}
            set before ''
            continue
        end
        set before $word
        string match -q -- '-*' $word; or set -a given $word
    end
    set -l wanted $argv
    set -l count (count $wanted)
    test (count $given) -ge $count; or return 1
    test $count -eq 0; and test (count $given) -gt 0; and return 1
    test $count -eq 0; or test "$given[1..$count]" = "$wanted"
end
complete -c ${program} -f
${lines.join("\n")}
`;
}
function complete(program, { words }, what) {
	return `complete -c ${program} -n ${quoted$1([`__${program}_at`, ...words].join(" "))} ${what}`;
}
function source(values, program) {
	switch (values) {
		case "hosts": return ` -a '(${program} completion hosts 2> /dev/null)'`;
		case "directories": return " -a '(__fish_complete_directories)'";
		case "files": return " -a '(__fish_complete_path)'";
		case "shells": return ` -a '${SHELLS.join(" ")}'`;
		case "other": return "";
	}
}
function quoted$1(text) {
	return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
// src/completion/zsh.ts
/** A function for zsh: in a directory of $fpath as `_bento`, or sourced after compinit. */
function zshCompletion(line) {
	const { program, commands } = line;
	const flags = flagsByValues(line);
	return `#compdef ${program}
# zsh completion for ${program}, made by: ${program} completion zsh
_${program}() {
  local before='' command='' argument=other word i
  local -a options next
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    case $before in
      (${[...flags.values()].flat().join("|")}) before=''; continue ;;
    esac
    before=$word
    case $command:$word in
${commands.filter(({ words }) => words.length > 0).map(({ words }) => `      ('${words.slice(0, -1).join(" ")}:${words.at(-1)}') command='${words.join(" ")}' ;;`).join("\n")}
    esac
  done
  case $command in
${commands.map(({ words, options, next, argument }) => `    ('${words.join(" ")}')
      options=(${options.flatMap((option) => option.flags.map((flag) => quoted(`${flag}:${option.description}`))).join(" ")})
      next=(${next.map(({ name, description }) => quoted(`${name}:${description}`)).join(" ")}) argument=${argument} ;;`).join("\n")}
  esac
  case $before in
${[...flags].map(([values, all]) => `    (${all.join("|")}) argument=${values} next=() ;;`).join("\n")}
    (*) if [[ $PREFIX == -* ]]; then _describe option options; return; fi ;;
  esac
  if (( $#next )); then _describe command next; return; fi
  case $argument in
${[
		"hosts",
		"directories",
		"files",
		"shells"
	].map((values) => `    (${values}) ${fill(values, program)} ;;`).join("\n")}
  esac
}
# As a file of $fpath this is the function; sourced, it makes it.
if [[ $funcstack[1] == _${program} ]]; then _${program} "$@"; else compdef _${program} ${program}; fi
`;
}
function fill(values, program) {
	switch (values) {
		case "hosts": return `_values -s , host \${(f)"$(${program} completion hosts 2> /dev/null)"}`;
		case "directories": return "_files -/";
		case "files": return "_files";
		case "shells": return `compadd ${SHELLS.join(" ")}`;
	}
}
function quoted(text) {
	return `'${text.replaceAll("'", `'\\''`)}'`;
}
// src/commands/completion.ts
const SCRIPTS = {
	bash: bashCompletion,
	zsh: zshCompletion,
	fish: fishCompletion
};
/** What is asked for besides a shell: by the scripts, for what only the fleet knows. */
const HOSTS = "hosts";
/**
* The script that completes the command line in a shell, or, for `hosts`, the names that it completes.
* @throws FleetError for a shell that isn't known.
*/
async function completion(options) {
	const { shell, line } = options;
	const known = SHELLS.find((name) => name === shell);
	if (known === void 0 && shell !== HOSTS) throw new FleetError(`there is no completion for '${shell}'`, { hint: `there is one for ${SHELLS.join(", ")}` });
	return {
		version: 1,
		command: "completion",
		shell,
		text: known === void 0 ? await hosts(options.fleet()) : SCRIPTS[known](line)
	};
}
async function hosts(fleet) {
	return (await loadFleet(fleet)).hosts.map(({ name }) => `${name}\n`).join("");
}
// src/cli.ts
/** The command line: every command, in the order in which help and the reference list them; their options stand in src/cli/. */
function program() {
	const bento = new Command("bento").description("Keeps a fleet of NixOS machines up to date from one git repository.").version(packageVersion()).exitOverride().addHelpText("after", ({ command }) => `
Exit status: 0 done; 1 a host failed, the others were processed; 2 the fleet or the arguments are wrong, nothing was
done; 3 a server or a tool could not be reached or run; 130 interrupted.

Environment:
${environmentHelp(helpOf(command))}`);
	addFleetCommands(bento);
	addReachCommands(bento);
	addSecretCommands(bento);
	addKeygenCommand(bento);
	addCheckCommands(bento);
	addDeployCommands(bento);
	addChangeCommands(bento);
	addStatusCommand(bento);
	addMachineCommands(bento);
	common(bento.command("completion <shell>")).description("print what completes this command line in bash, zsh or fish: source <(bento completion bash)").action((shell, options) => show$1(options, ({ fleet }) => completion({
		shell,
		line: commandLine(bento),
		fleet
	}), ({ text }) => text));
	return bento;
}
/** How help is laid out for who reads it. */
function helpOf(command) {
	const help = command.createHelp();
	help.prepareContext({ helpWidth: process.stdout.columns ?? 80 });
	return help;
}
// src/main.ts
const USAGE_ERROR = 2;
/** As package.json says. What an older one lacks it would say in the middle of something. */
const OLDEST_NODE = 22;
for (const stream of [process.stdout, process.stderr]) stream.on("error", (error) => {
	if (error.code !== "EPIPE") throw error;
});
if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
	process.stderr.write(`error: bento needs Node ${OLDEST_NODE} or later, and this is ${process.versions.node}\n`);
	process.exit(3);
}
try {
	await program().parseAsync(withPairs(process.argv.slice(2)), { from: "user" });
} catch (error) {
	if (!(error instanceof CommanderError)) throw error;
	process.exitCode = error.exitCode === 0 ? 0 : USAGE_ERROR;
}
export {};
