import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { succeed } from "./programs.ts";
import { Bucket, REGION } from "./s3.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "bento-s3-"));
});
afterAll(() => rm(dir, { recursive: true }));

const ID = "AKIAEXAMPLE";
const SECRET = "wJalr/XUtn+FEMI=";

test("what curl signs is taken, and nothing else", async () => {
  await using bucket = await Bucket.start(path.join(dir, "bucket"), "fleet", { logins: { [ID]: SECRET } });
  const content = path.join(dir, "content");
  await writeFile(content, "what is uploaded");
  const hash = await succeed("sh", ["-c", `sha256sum < ${content} | cut -d" " -f1`]);
  const curl = async (key: string, login: string | null, ...args: string[]) => {
    const signed = login === null ? [] : ["--aws-sigv4", `aws:amz:${REGION}:s3`, "--user", login];
    const url = `http://${bucket.endpoint}/${key}`;
    const said = await succeed("curl", ["-q", "-sS", "-w", " %{http_code}", ...signed, ...args, url]);
    return `${said.slice(-3)} ${/<Code>(.*)<\/Code>/.exec(said)?.[1] ?? said.slice(0, -4)}`;
  };
  const own = `${ID}:${SECRET}`;
  const upload = (sum: string) => ["--upload-file", content, "-H", `x-amz-content-sha256: ${sum}`];
  const read = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
  expect(await curl("fleet/nar/a%20b", own, ...upload(hash))).toBe("200 ");
  expect(await readFile(path.join(bucket.dir, "nar/a b"), "utf8")).toBe("what is uploaded");
  expect(await curl("fleet/nar/a%20b", own, ...read)).toBe("200 what is uploaded");
  expect(await curl("fleet/nar/none", own, ...read)).toBe("404 NoSuchKey");
  expect(await curl("other/nar/a", own, ...read)).toBe("404 NoSuchBucket");
  expect(await curl("fleet/nar/other", own, ...upload("0".repeat(64)))).toBe("400 XAmzContentSHA256Mismatch");
  expect(await curl("fleet/nar/a%20b", `${ID}:wrong`, ...read)).toBe("403 SignatureDoesNotMatch");
  expect(await curl("fleet/nar/a%20b", `AKIAOTHER:${SECRET}`, ...read)).toBe("403 InvalidAccessKeyId");
  expect(await curl("fleet/nar/a%20b", null, ...read)).toBe("403 AccessDenied");
  expect(await curl("fleet/nar/other", null, "--upload-file", content)).toBe("403 AccessDenied");
  bucket.isListable = false;
  expect(await curl("fleet/nar/none", own, ...read)).toBe("403 AccessDenied");
  expect(bucket.answered.map(({ by }) => by)).toEqual([ID, ID, ID, ID, ID, ID, "AKIAOTHER", null, null, ID]);
});
