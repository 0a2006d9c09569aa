import { expect, test } from "vitest";
import { parseSshTarget } from "../../src/fleet/ssh-target.ts";

test.each([
  ["root@10.0.0.1", "root", "10.0.0.1", null],
  ["nas", null, "nas", null],
  ["nas.example.org:2222", null, "nas.example.org", 2222],
  ["ssh://ada@nas:22", "ada", "nas", 22],
  ["root@[fe80::1%eth0]:2222", "root", "fe80::1%eth0", 2222],
  ["root@2001:db8::1", "root", "2001:db8::1", null],
  ["ada@example.org@jump", "ada@example.org", "jump", null],
] as const)("%s", (text, user, address, port) => {
  expect(parseSshTarget(text)).toEqual({ user, address, port });
});

test.each([
  "",
  "@nas",
  "root@",
  "root@-oProxyCommand=x",
  "-oProxyCommand=x@nas",
  "root@nas:0",
  "root@nas:65536",
  "root@nas:ssh",
  "root@nas:22:22",
  "root@[nas]:22",
  "root@nas;reboot",
  "root@$(reboot)",
  "root@%h",
  'root@"nas"',
  "root@nas#x",
  "r'oot@nas",
  "root@nas\nProxyCommand x",
])("%j is none", (text) => {
  expect(parseSshTarget(text)).toBeNull();
});
