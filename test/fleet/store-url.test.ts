import { expect, test } from "vitest";
import { holdsSecret, storeUrlProblem } from "../../src/fleet/store-url.ts";

test.each([
  "https://cache.example.org",
  "http://127.0.0.1:5000/cache?priority=3",
  "http://[fd00::1]:5000",
  "s3://bucket?region=eu-central-1&endpoint=minio.example.org",
  "ssh-ng://nix@cache.example.org",
  "ssh://cache.example.org?remote-store=local",
  "file:///srv/cache?compression=none",
])("an address of a store, which lets nobody in: %s", (url) => {
  expect([storeUrlProblem(url), holdsSecret(url)]).toEqual([null, false]);
});

test.each([
  ["https://cache.example.org https://other.example.org", "must be one address without blanks in it"],
  ["https://cache.example.org\n", "must be one address without blanks in it"],
  ["htps://cache.example.org", "must be the address of a Nix store; did you mean 'https://'?"],
  [
    "ftp://cache.example.org",
    "must be the address of a Nix store; it begins with one of file, http, https, s3, ssh, ssh-ng, and ://",
  ],
  ["javascript:alert(1)", expect.stringMatching(/^must be the address of a Nix store;/)],
  ["cache.example.org", expect.stringMatching(/^must be the address of a Nix store;/)],
  ["s3:bucket", "must be an address as s3://cache.example.org is one"],
  ["http:/cache", "must be an address as http://cache.example.org is one"],
  ["https://me:hun@ter2@cache.example.org", "must have %40 for an '@' in its password"],
  ["https://", "must be an address as https://cache.example.org is one"],
  ["https://host:99999", "must be an address as https://cache.example.org is one"],
  ["ssh-ng://", "must be an address as ssh-ng://cache.example.org is one"],
  ["file://srv/cache", "must be an address as file:///srv/cache is one"],
  ["ssh://-oProxyCommand=x", "must name a host, and no host's name begins with '-'"],
  ["ssh://%2DoProxyCommand=x", "must name a host, and no host's name begins with '-'"],
  ["ssh://cache%zz.example.org", "must be an address as ssh://cache.example.org is one"],
])("no address of a store: %s", (url, problem) => {
  expect(storeUrlProblem(url)).toEqual(problem);
});

test.each([
  "https://me:hunter2@cache.example.org",
  "https://me:hun@ter2@cache.example.org",
  "https://token@cache.example.org",
  "ssh-ng://nix:hunter2@cache.example.org",
  "file:///srv/cache?secret-key=/root/key",
  "s3://bucket?region=x&secret-keys=/a",
])("lets in who reads it: %s", (url) => {
  expect(holdsSecret(url)).toBe(true);
});
