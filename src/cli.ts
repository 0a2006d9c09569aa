#!/usr/bin/env node
import { readFileSync } from "node:fs";
import path from "node:path";
import { Command, Option } from "commander";
import { bootstrap } from "./commands/bootstrap.ts";
import { build } from "./commands/build.ts";
import { check } from "./commands/check.ts";
import type { Context } from "./commands/context.ts";
import { deploy } from "./commands/deploy.ts";
import { hostAdd, hostList, hostRemove } from "./commands/host.ts";
import { init } from "./commands/init.ts";
import { keygen } from "./commands/keygen.ts";
import { render } from "./commands/render.ts";
import { status } from "./commands/status.ts";
import { BentoError, FleetError } from "./errors.ts";
import { findFleet } from "./fleet/load.ts";
import { onInterrupt } from "./platform/interrupt.ts";
import { terminalOutput } from "./platform/output.ts";
import { packageRoot } from "./platform/package.ts";
import { renderCheck } from "./render/check.ts";
import { renderDeploy } from "./render/deploy.ts";
import { describeError } from "./render/error.ts";
import { renderStatus } from "./render/status.ts";

/** What every command takes. */
interface CommonOptions {
  fleet?: string;
  hosts?: string;
  json?: true;
  verbose?: true;
  color: boolean;
}

/** What commands that evaluate pass on to Nix. */
interface NixOptions {
  overrideInput: [string, string][];
  option: [string, string][];
  include: string[];
}
