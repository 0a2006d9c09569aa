import { expect, test } from "vitest";
import { difference, parsePackages } from "../../src/nix/difference.ts";

const HASH = "0123456789abcdfghijklmnpqrsvwxyz";
const paths = (...names: string[]) => names.map((name) => `/nix/store/${HASH}-${name}`).join("\n");
const versions = (text: string) =>
  Object.fromEntries([...parsePackages(text)].map(([name, found]) => [name, [...found]]));

test("packages are derivations with a version: at a dash and a digit, as Nix tells it", () => {
  const found = versions(
    paths(
      "curl-8.17.0.drv",
      "openssh-10.2p1.drv",
      "gtk+3-3.24.51.drv",
      "python3.13-requests-2.32.5.drv",
      "linux-6.18.1.drv",
      "unit-script.drv",
      "builder.sh",
      "curl-8.17.0",
    ),
  );
  expect(found).toEqual({
    curl: ["8.17.0"],
    openssh: ["10.2p1"],
    "gtk+3": ["3.24.51"],
    "python3.13-requests": ["2.32.5"],
    linux: ["6.18.1"],
  });
});

test("sources, patches, generated files and the system itself are no packages", () => {
  expect(
    versions(
      paths(
        "curl-8.17.0.tar.xz.drv",
        "v1.2.3.tar.gz.drv",
        "fix-CVE-2026-1.patch.drv",
        "etc-1.conf.drv",
        "unit-nginx-1.service.drv",
        "nixos-system-router-26.05.drv",
      ),
    ),
  ).toEqual({});
  expect(parsePackages("").size).toBe(0);
  expect(parsePackages("error: no such path\n\n").size).toBe(0);
});

test("a package may be there in several versions", () => {
  expect(versions(paths("python3-3.12.1.drv", "python3-3.13.0.drv"))).toEqual({ python3: ["3.12.1", "3.13.0"] });
});

test("what is new, gone, or of another version, by name", () => {
  const before = parsePackages(paths("nginx-1.28.drv", "vim-9.1.drv", "htop-3.4.1.drv", "go-1.24.drv", "go-1.25.drv"));
  const after = parsePackages(paths("nginx-1.29.drv", "htop-3.4.1.drv", "curl-8.17.0.drv", "go-1.25.drv"));
  expect(difference(before, after)).toEqual([
    { name: "curl", from: null, to: "8.17.0" },
    { name: "go", from: "1.24, 1.25", to: "1.25" },
    { name: "nginx", from: "1.28", to: "1.29" },
    { name: "vim", from: "9.1", to: null },
  ]);
  expect(difference(before, before)).toEqual([]);
});
