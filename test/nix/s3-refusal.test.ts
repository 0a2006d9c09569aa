import { expect, test } from "vitest";
import { LOGGED_OUT, s3Refusal } from "../../src/nix/s3-refusal.ts";

const URL = "s3://fleet-cache?region=eu-central-1";
/** As Nix prints an answer, from 2.33 on. */
const answered = (status: number, code: string, message: string) =>
  `unable to download 'https://fleet-cache.s3.eu-central-1.amazonaws.com/nix-cache-info': HTTP error ${status}\n\n       response body:\n\n       <?xml version="1.0" encoding="UTF-8"?>\n       <Error><Code>${code}</Code><Message>${message}</Message></Error>`;
/** As it prints it until then, with the AWS SDK in it. */
const sdk = (message: string) => `AWS error uploading 'nix-cache-info': ${message} (request id: 17C5F3)`;

test.each([
  [
    answered(403, "SignatureDoesNotMatch", "…"),
    "its server refuses the login: the secret key is wrong (SignatureDoesNotMatch)",
  ],
  [
    answered(403, "InvalidAccessKeyId", "…"),
    "its server refuses the login: it knows no such access key (InvalidAccessKeyId)",
  ],
  [
    answered(400, "ExpiredToken", "…"),
    "its server refuses the login: the session token is no longer valid (ExpiredToken)",
  ],
  [
    answered(403, "RequestTimeTooSkewed", "…"),
    "its server refuses the login: this machine's clock is wrong (RequestTimeTooSkewed)",
  ],
  [answered(404, "NoSuchBucket", "…"), "there is no such bucket (NoSuchBucket)"],
  [answered(301, "PermanentRedirect", "…"), "the bucket is in another region (PermanentRedirect)"],
  [
    answered(400, "AuthorizationHeaderMalformed", "…"),
    "the bucket is in another region (AuthorizationHeaderMalformed)",
  ],
  [
    answered(403, "AccessDenied", "…"),
    "its server refuses access: the login has no right to it, or there is none (AccessDenied)",
  ],
  [
    `${answered(403, "AccessDenied", "…")}; ${LOGGED_OUT}`,
    "its server refuses access, and Nix has no login (AccessDenied)",
  ],
  [
    "unable to upload 'https://minio.example.org/fleet-cache/x.narinfo': HTTP error 403",
    "its server refuses access: the login has no right to it, or there is none",
  ],
  [
    sdk(
      "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    ),
    "its server refuses the login: the secret key is wrong",
  ],
  [
    sdk("The AWS Access Key Id you provided does not exist in our records."),
    "its server refuses the login: it knows no such access key",
  ],
  [sdk("The provided token has expired."), "its server refuses the login: the session token is no longer valid"],
  [
    sdk("The difference between the request time and the current time is too large."),
    "its server refuses the login: this machine's clock is wrong",
  ],
  [sdk("The specified bucket does not exist"), "there is no such bucket"],
  [sdk("Access Denied"), "its server refuses access: the login has no right to it, or there is none"],
])("%s", (text, message) => {
  expect(s3Refusal(text, URL)?.message).toBe(message);
});

test("what may pass, and what another cache says, is no refusal of a bucket's", () => {
  expect(s3Refusal(answered(503, "SlowDown", "Please reduce your request rate."), URL)).toBe(null);
  expect(s3Refusal(answered(500, "InternalError", "We encountered an internal error. Please try again."), URL)).toBe(
    null,
  );
  expect(s3Refusal(`unable to download '…': Timeout was reached (28); ${LOGGED_OUT}`, URL)).toBe(null);
  expect(s3Refusal(answered(403, "AccessDenied", "…"), "https://cache.example.org")).toBe(null);
});

test("the hint names the login that counts", () => {
  const hint = (url: string) => s3Refusal(answered(403, "SignatureDoesNotMatch", "…"), url)?.hint;
  expect(hint(URL)).toBe(
    "the login is AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or else those of [default] in ~/.aws/credentials",
  );
  expect(hint(`${URL}&profile=ci`)).toContain("[ci] in ~/.aws/credentials");
});
