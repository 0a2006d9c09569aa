// S3 says no in XML, and Nix prints that; until 2.32 it prints the sentence alone. What it means for whoever has to mend it.

/** Why a bucket can't be used, and what to do about it. */
export interface S3Refusal {
  message: string;
  hint: string;
}

/** The first that fits counts. What is said is to follow "could not be pushed to: ". */
const REFUSALS: readonly { said: RegExp; is: string; mend: "login" | "bucket" | "clock" | "rights" }[] = [
  {
    said: /SignatureDoesNotMatch|request signature we calculated does not match/,
    is: "its server refuses the login: the secret key is wrong",
    mend: "login",
  },
  {
    said: /InvalidAccessKeyId|Access Key Id you provided does not exist/,
    is: "its server refuses the login: it knows no such access key",
    mend: "login",
  },
  {
    said: /ExpiredToken|InvalidToken|provided token (?:has expired|is malformed)/,
    is: "its server refuses the login: the session token is no longer valid",
    mend: "login",
  },
  {
    said: /RequestTimeTooSkewed|difference between the request time and/,
    is: "its server refuses the login: this machine's clock is wrong",
    mend: "clock",
  },
  { said: /NoSuchBucket|specified bucket does not exist/, is: "there is no such bucket", mend: "bucket" },
  {
    said: /AuthorizationHeaderMalformed|PermanentRedirect|IllegalLocationConstraint|region '[^']*' is wrong|must be addressed using the specified endpoint/,
    is: "the bucket is in another region",
    mend: "bucket",
  },
  {
    said: /AccessDenied|Access Denied|HTTP error 40[13]\b/,
    is: "its server refuses access: the login has no right to it, or there is none",
    mend: "rights",
  },
];

/** In Nix's warning when it asks without a login, as it has none. */
export const LOGGED_OUT = "AWS authentication failed";

/** What a text of Nix's says of a bucket's refusal, which nothing but a change of something mends; null for anything else. */
export function s3Refusal(text: string, url: string): S3Refusal | null {
  if (!url.startsWith("s3:")) return null;
  const found = REFUSALS.find(({ said }) => said.test(text));
  if (found === undefined) return null;
  const isLoggedOut = found.mend === "rights" && text.includes(LOGGED_OUT);
  const is = isLoggedOut ? "its server refuses access, and Nix has no login" : found.is;
  const [, code] = /<Code>(\w+)<\/Code>/.exec(text) ?? [];
  const profile = new URL(url).searchParams.get("profile") ?? "default";
  const login = `AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or else those of [${profile}] in ~/.aws/credentials`;
  const mends = {
    login: `the login is ${login}`,
    clock: "set the clock, or have it set",
    bucket: "correct its name, ?region=… or &endpoint=… in the address",
    rights: `the login is ${login}; it needs s3:ListBucket, s3:GetObject and s3:PutObject. Debian's Nix logs in nowhere`,
  };
  return { message: code === undefined ? is : `${is} (${code})`, hint: mends[found.mend] };
}
