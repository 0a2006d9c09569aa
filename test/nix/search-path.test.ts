import { expect, test } from "vitest";
import { parseEntry, splitSearchPath, tarballOf } from "../../src/nix/search-path.ts";

test.each([
  ["", []],
  ["nixpkgs=/a", ["nixpkgs=/a"]],
  ["nixpkgs=/a:/b::c=/d", ["nixpkgs=/a", "/b", "c=/d"]],
  ["nixpkgs=channel:nixos-26.05", ["nixpkgs=channel:nixos-26.05"]],
  ["channel:nixos-26.05:/b", ["channel:nixos-26.05", "/b"]],
  [
    "nixpkgs=https://example.org/a.tar.gz:home-manager=http://example.org/b.tar.gz:/c",
    ["nixpkgs=https://example.org/a.tar.gz", "home-manager=http://example.org/b.tar.gz", "/c"],
  ],
  ["nixpkgs=flake:nixpkgs:/b", ["nixpkgs=flake:nixpkgs", "/b"]],
  ["nixpkgs=file:///a.tar.gz:/b", ["nixpkgs=file:///a.tar.gz", "/b"]],
  // Nix, too, takes the port's colon for the next entry's (2.8, 2.26 and 2.34).
  ["http://example.org:8080/a", ["http://example.org", "8080/a"]],
  ["https:/a", ["https", "/a"]],
])("NIX_PATH=%s", (text, entries) => {
  expect(splitSearchPath(text)).toEqual(entries);
});

test.each([
  ["nixpkgs=channel:nixos-26.05", "https://channels.nixos.org/nixos-26.05/nixexprs.tar.xz"],
  ["nixpkgs=https://example.org/a.tar.gz", "https://example.org/a.tar.gz"],
  ["https://example.org/a.tar.gz?b=c", "https://example.org/a.tar.gz?b=c"],
  ["nixpkgs=/nix/store/x", null],
  ["nixpkgs=flake:nixpkgs", null],
  ["channel", null],
])("%s is the tarball %s", (entry, url) => {
  expect(tarballOf(parseEntry(entry))).toBe(url);
});
