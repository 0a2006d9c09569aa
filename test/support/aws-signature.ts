import { createHash, createHmac, timingSafeEqual } from "node:crypto";

// Version 4 of AWS's signatures, as a server sees it: who has sent a request, and whether it is as it was sent.

/** A request as it came, its headers in their order, each as often as it was there. */
export interface Received {
  method: string;
  /** From the `/` on. */
  url: string;
  headers: readonly (readonly [name: string, value: string])[];
}

export interface Scope {
  region: string;
  service: string;
}

/** S3's answer to a request that it doesn't take: a status, and what its body has as Code and Message. */
export interface Refusal {
  status: number;
  code: string;
  message: string;
}

/** How old, or how far ahead, a request may be, in milliseconds. */
const SKEW = 15 * 60_000;

/**
 * Why a request is refused; null for one of somebody who knows the secret of a login. `secrets` has them by the ids of their keys;
 * `payload` is the hash of the body as the request has it.
 */
export function refusalOf(
  request: Received,
  secrets: Readonly<Record<string, string>>,
  { region, service }: Scope,
  payload: string,
  now = Date.now(),
): Refusal | null {
  const authorization = header(request, "authorization");
  if (authorization === undefined) return refused(403, "AccessDenied", "Access Denied");
  const pattern =
    /^AWS4-HMAC-SHA256 Credential=([^/\s]+)\/(\d{8})\/([^/\s]+)\/([^/\s]+)\/aws4_request, ?SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{64})$/;
  const [, id = "", day = "", signedRegion = "", signedService = "", names = "", signature = ""] =
    pattern.exec(authorization) ?? [];
  if (id === "") return refused(400, "AuthorizationHeaderMalformed", "The authorization header is malformed");
  const wanted = `${region}/${service}`;
  if (`${signedRegion}/${signedService}` !== wanted) {
    const message = `The authorization header is malformed; the region '${signedRegion}' is wrong; expecting '${region}'`;
    return refused(400, "AuthorizationHeaderMalformed", message);
  }
  const secret = Object.hasOwn(secrets, id) ? secrets[id] : undefined;
  if (secret === undefined) {
    return refused(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.");
  }
  const date = header(request, "x-amz-date") ?? "";
  const [, year, month, dayOfMonth, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? [];
  const sent = Date.parse(`${year}-${month}-${dayOfMonth}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(sent)) return refused(403, "AccessDenied", "AWS authentication requires a valid Date");
  if (Math.abs(now - sent) > SKEW) {
    const message = "The difference between the request time and the server's time is too large.";
    return refused(403, "RequestTimeTooSkewed", message);
  }
  // What may change what a request does has to be signed.
  const signed = names.split(";");
  const due = request.headers.map(([name]) => name.toLowerCase()).filter((name) => /^(?:host$|x-amz-)/.test(name));
  if (!date.startsWith(day) || !due.includes("host") || due.some((name) => !signed.includes(name))) {
    return refused(403, "AccessDenied", "There were headers present in the request which were not signed");
  }
  const scope = `${day}/${wanted}/aws4_request`;
  const text = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${sha256(canonical(request, signed, payload))}`;
  const key = [day, region, service, "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${secret}`);
  if (timingSafeEqual(hmac(key, text), Buffer.from(signature, "hex"))) return null;
  const message =
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
  return refused(403, "SignatureDoesNotMatch", message);
}

export const sha256 = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");

/** The one way in which a request can be written down. */
function canonical(request: Received, signed: readonly string[], payload: string): string {
  const [path = "", query = ""] = request.url.split(/\?(.*)/s);
  const parameters = query
    .split("&")
    .filter((part) => part !== "")
    .map((part) => {
      const [name = "", value = ""] = part.split(/=(.*)/s);
      return [encoded(name), encoded(value)] as const;
    });
  parameters.sort(([name, value], [other, otherValue]) => order(name, other) || order(value, otherValue));
  const headers = signed.map((name) => `${name}:${header(request, name) ?? ""}\n`);
  return [
    request.method,
    path.split("/").map(encoded).join("/"),
    parameters.map(([name, value]) => `${name}=${value}`).join("&"),
    headers.join(""),
    signed.join(";"),
    payload,
  ].join("\n");
}

/** All that has this name, as one value. */
function header(request: Received, wanted: string): string | undefined {
  const values = request.headers.filter(([name]) => name.toLowerCase() === wanted);
  return values.length === 0 ? undefined : values.map(([, value]) => value.trim().replace(/\s+/g, " ")).join(",");
}

/** By bytes. */
const order = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);

function encoded(text: string): string {
  const rest = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(decodeURIComponent(text)).replace(/[!'()*]/g, rest);
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

const refused = (status: number, code: string, message: string): Refusal => ({ status, code, message });
