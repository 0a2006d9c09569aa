import { describe, expect, test } from "vitest";
import { type Received, refusalOf, sha256 } from "./aws-signature.ts";

/** AWS's own test suite (aws-c-auth, tests/aws-signing-test-suite/v4); its secret is the one below. */
const SUITE = `GET / HTTP/1.1
Host:example.amazonaws.com
My-Header1: value1
My-Header2: "a   b   c"
X-Amz-Date:20150830T123600Z
Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;my-header1;my-header2;x-amz-date, Signature=acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736

GET / HTTP/1.1
Host:example.amazonaws.com
My-Header1:value2
My-Header1:value2
My-Header1:value1
X-Amz-Date:20150830T123600Z
Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;my-header1;x-amz-date, Signature=c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea

GET /ሴ HTTP/1.1
Host:example.amazonaws.com
X-Amz-Date:20150830T123600Z
Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85

GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1 HTTP/1.1
Host:example.amazonaws.com
X-Amz-Date:20150830T123600Z
Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac

GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz HTTP/1.1
Host:example.amazonaws.com
X-Amz-Date:20150830T123600Z
Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197

GET / HTTP/1.1
Host:example.amazonaws.com
X-Amz-Security-Token:6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267
X-Amz-Date:20150830T123600Z
Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8

POST / HTTP/1.1
Content-Type:application/x-www-form-urlencoded
Host:example.amazonaws.com
Content-Length:13
X-Amz-Date:20150830T123600Z
x-amz-content-sha256:9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e
Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, Signature=d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b`;

/** The examples of Amazon S3's API reference, "Signature calculations for the authorization header". */
const S3 = `GET /test.txt HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Range: bytes=0-9
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-amz-date: 20130524T000000Z
Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41

PUT /test%24file.text HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Date: Fri, 24 May 2013 00:00:00 GMT
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072
Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd

GET /?lifecycle HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543

GET /?max-keys=2&prefix=J HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7`;

const EXAMPLES = [
  {
    name: "AWS's test suite",
    texts: SUITE.split("\n\n"),
    secrets: { AKIDEXAMPLE: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
    scope: { region: "us-east-1", service: "service" },
    now: Date.parse("2015-08-30T12:36:00Z"),
  },
  {
    name: "S3's reference",
    texts: S3.split("\n\n"),
    secrets: { AKIAIOSFODNN7EXAMPLE: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" },
    scope: { region: "us-east-1", service: "s3" },
    now: Date.parse("2013-05-24T00:00:00Z"),
  },
];

describe.each(EXAMPLES)("$name", ({ texts, secrets, scope, now }) => {
  const look = (text: string, at = now, known: Record<string, string> = secrets) => {
    const request = received(text);
    const [, payload] = request.headers.find(([name]) => name === "x-amz-content-sha256") ?? [];
    return refusalOf(request, known, scope, payload ?? sha256(""), at)?.code ?? null;
  };

  test.each(texts)("%s", (text) => {
    expect(look(text)).toBe(null);
    // Whatever is signed, changed.
    expect(look(text.replace(/^\S+/, "DELETE"))).toBe("SignatureDoesNotMatch");
    expect(look(text.replace(/ (\/\S*) HTTP/, " /other$1 HTTP"))).toBe("SignatureDoesNotMatch");
    expect(look(text.replace(/ (\/\S*) HTTP/, " $1?more=1 HTTP"))).toBe("SignatureDoesNotMatch");
    const [, signed = ""] = /SignedHeaders=([^,]*)/.exec(text) ?? [];
    for (const name of signed.split(";").filter((name) => name !== "x-amz-date")) {
      expect(look(text.replace(new RegExp(`^(${name}: ?)`, "im"), "$1other"))).toBe("SignatureDoesNotMatch");
    }
    expect(look(text.replace(/(.)$/, (last) => (last === "0" ? "1" : "0")))).toBe("SignatureDoesNotMatch");
  });

  test.each(texts)("by somebody else, at another time, for another server: %s", (text) => {
    const [[id = "", secret = ""] = []] = Object.entries(secrets);
    expect(look(text, now, { [id]: `${secret}x` })).toBe("SignatureDoesNotMatch");
    expect(look(text, now, { [`${id}X`]: secret })).toBe("InvalidAccessKeyId");
    expect(look(text, now + 14 * 60_000)).toBe(null);
    expect(look(text, now + 16 * 60_000)).toBe("RequestTimeTooSkewed");
    expect(look(text, now - 16 * 60_000)).toBe("RequestTimeTooSkewed");
    expect(look(text.replace("/us-east-1/", "/eu-central-1/"))).toBe("AuthorizationHeaderMalformed");
    expect(look(text.replace(/^Authorization.*/im, "Authorization: Basic eDp5"))).toBe("AuthorizationHeaderMalformed");
    expect(look(text.replace(/\nAuthorization.*/i, ""))).toBe("AccessDenied");
    expect(look(text.replace(/\nx-amz-date.*/i, ""))).toBe("AccessDenied");
    expect(look(text.replace("\n", "\nx-amz-acl: public-read\n"))).toBe("AccessDenied");
  });
});

/** A request as it is on the wire, but for its body. */
function received(text: string): Received {
  const [first = "", ...lines] = text.split("\n");
  const [method = "", url = ""] = first.split(" ");
  return { method, url, headers: lines.map((line) => [line.replace(/:.*/, ""), line.replace(/^[^:]*:/, "").trim()]) };
}
