import { z } from "zod";
import { fleetSchema } from "../../src/fleet/schema.ts";
import { code, page, table } from "./markdown.ts";

/** The part of JSON Schema that fleet.yaml's needs. */
interface Schema {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  format?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  anyOf?: Schema[];
}

/** fleet.yaml as JSON Schema (draft 2020-12), for editors: docs/fleet.schema.json. */
export function fleetJsonSchema(): Schema {
  return z.toJSONSchema(fleetSchema, { io: "input", unrepresentable: "any" }) as Schema;
}

/** docs/reference/fleet.md */
export function fleetReference(): string {
  return page(
    "fleet.yaml",
    "src/fleet/schema.ts",
    "The one file that an administrator edits besides Nix. A key that isn't listed here is an error, with its line. Editors that\n" +
      "know JSON Schema complete and check it with [fleet.schema.json](../fleet.schema.json):\n\n" +
      "```yaml\n# yaml-language-server: $schema=https://raw.githubusercontent.com/bento-nix/bento/main/docs/fleet.schema.json\n```",
    ...sections("", fleetJsonSchema()),
  );
}

/** The table of what `schema` may hold, and those of what is in that. */
function sections(place: string, schema: Schema): string[] {
  const { properties = {}, required = [] } = schema;
  const rows = Object.entries(properties).map(([key, value]) => [
    code(key),
    typeOf(value),
    required.includes(key) ? "required" : code(defaultOf(value)),
    value.description ?? "",
  ]);
  const inner = Object.entries(properties).flatMap(([key, value]) => {
    const at = place === "" ? key : `${place}.${key}`;
    const found = within(value);
    return found === undefined ? [] : sections(`${at}${found.suffix}`, found.schema);
  });
  return [...(place === "" ? [] : [`## ${code(place)}`]), table(["key", "type", "default", ""], rows), ...inner];
}

/** What has keys of its own in a value: it itself, each of its items, or what each of its names stands for. */
function within(schema: Schema): { schema: Schema; suffix: string } | undefined {
  const { properties, items, additionalProperties: values, anyOf } = schema;
  if (properties) return { schema, suffix: "" };
  if (items?.properties) return { schema: items, suffix: "[]" };
  if (typeof values === "object") {
    const found = within(values);
    return found && { ...found, suffix: `.NAME${found.suffix}` };
  }
  for (const one of anyOf ?? []) {
    const found = within(one);
    if (found) return found;
  }
  return undefined;
}

function typeOf(schema: Schema): string {
  if (schema.enum) return schema.enum.map((value) => code(String(value))).join(" or ");
  if (schema.items) return `list of ${plural(typeOf(schema.items))}`;
  if (schema.anyOf) return typeOf(schema.anyOf.find(({ type }) => type !== "null") ?? {});
  if (schema.format === "uri") return "URL";
  if (schema.type === "object") return "keys";
  return schema.type ?? "";
}

function plural(type: string): string {
  return type === "string" ? "strings" : type;
}

function defaultOf({ default: value }: Schema): string {
  if (value === undefined) return "";
  if (value === "") return '""';
  if (Array.isArray(value)) return JSON.stringify(value);
  return typeof value === "object" ? "{}" : String(value);
}
