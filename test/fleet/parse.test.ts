import fc from "fast-check";
import { expect, test } from "vitest";
import { FleetError, formatLocation } from "../../src/errors.ts";
import { parseFleetFile } from "../../src/fleet/parse.ts";
import { ECDSA, ED25519_1, ED25519_2, ED25519_3, RSA } from "./keys.ts";

const CACHE_KEY = `cache.example.org-1:${"A".repeat(43)}=`;

/** What a user reads: the place and the text. Other problems follow on lines of their own, with their places. */
function complaint(text: string): string {
  try {
    parseFleetFile(text);
  } catch (error) {
    expect(error).toBeInstanceOf(FleetError);
    const { at, message } = error as FleetError;
    return at === undefined ? message : `${formatLocation(at)}: ${message}`;
  }
  throw new Error("it was accepted");
}

const server = `server:\n  address: fleet.example.org\n  hostKeys: ["${ED25519_1}"]\n`;

test("everything that the design's example has", () => {
  const { content } = parseFleetFile(`server:
  address: fleet.example.org
  port: 22
  user: bento                       # the publisher's login
  root: /home/chroot
  hostKeys: [ "${ED25519_1}" ] # pinned; nothing ever runs ssh-keyscan
git: { remote: "git@github.com:org/fleet.git", refs: "refs/heads/bento/{host}" }   # optional second way out
signers: [ "${ED25519_2} ci" ]
substituters: [ { url: "https://cache.example.org", key: "${CACHE_KEY}" } ]
hosts:
  router:
    key: "${ED25519_3} root@router"   # its login at the server, and its secrets' recipient
    path: hosts/router                     # the directory whose content is the tree; default hosts/NAME
    config: configuration.nix              # entry within the tree, for hosts without a flake
    attr: router                           # flake attribute, default NAME
    deliver: tree                          # or system: store path only (needs a substituter)
    groups: [ canary ]
    ssh: root@10.0.0.1                     # how an administrator reaches it
`);
  expect(content).toEqual({
    server: {
      address: "fleet.example.org",
      port: 22,
      user: "bento",
      publishers: [],
      root: "/home/chroot",
      hostKeys: [ED25519_1],
      loginPrefix: "",
      tree: false,
    },
    git: { remote: "git@github.com:org/fleet.git", refs: "refs/heads/bento/{host}", hostKeys: [] },
    signers: [`${ED25519_2} ci`],
    administrators: [],
    substituters: [{ url: "https://cache.example.org", key: CACHE_KEY }],
    hosts: {
      router: {
        key: `${ED25519_3} root@router`,
        path: "hosts/router",
        config: "configuration.nix",
        attr: "router",
        deliver: "tree",
        agent: true,
        groups: ["canary"],
        ssh: "root@10.0.0.1",
      },
    },
  });
});

test("a root flake's host with its include", () => {
  const { content } = parseFleetFile(
    "hosts:\n  router:\n    path: .\n    include: [flake.nix, flake.lock, hosts/router, modules]\n",
  );
  expect(content.hosts.router).toEqual({
    path: ".",
    include: ["flake.nix", "flake.lock", "hosts/router", "modules"],
    deliver: "tree",
    agent: true,
    groups: [],
  });
});

test.each([RSA, ECDSA, ED25519_1, `${ED25519_1} with a comment of words`])("a key of any usual type: %s", (key) => {
  expect(parseFleetFile(`signers: ["${key}"]\n`).content.signers).toEqual([key]);
});

const AGE = "age1hvf2w2jjulq53n03s4e3a4nlf2ssyp9ejpt494xcwj7svhsv3sdqzuynh9";

test.each([ED25519_1, `${RSA} anna`, AGE, `${AGE} anna`])("an administrator: %s", (recipient) => {
  expect(parseFleetFile(`administrators: ["${recipient}"]\n`).content.administrators).toEqual([recipient]);
});

test.each([
  ["a key that age can't encrypt to", ECDSA],
  ["one mistyped letter", AGE.replace(/^age1./, "age1q")],
  ["the half of it", AGE.slice(0, 30)],
  ["a private key of age's", "AGE-SECRET-KEY-1QQQ"],
])("no administrator: %s", (_, recipient) => {
  expect(complaint(`administrators:\n  - "${recipient}"\n`)).toBe(
    "fleet.yaml:2:5: administrators.0 is no recipient that age knows: 'ssh-ed25519 AAAA… name', an ssh-rsa key, or 'age1… name'",
  );
});

test.each([
  ["an empty file", ""],
  ["comments alone", "# nothing yet\n"],
  ["an empty document", "---\n"],
  ["hosts without any", "hosts:\n"],
  ["hosts that are all commented out", "hosts:\n  # nas:\n"],
])("%s is a fleet without hosts", (_, text) => {
  expect(parseFleetFile(text).content.hosts).toEqual({});
});

test("line ends of Windows and a byte order mark change nothing, nor the places in errors", () => {
  const text = "# a fleet\nhosts:\n  nas:\n  web:\n    path: hosts/www\n";
  const plain = parseFleetFile(text).content;
  expect(parseFleetFile(text.replaceAll("\n", "\r\n")).content).toEqual(plain);
  expect(parseFleetFile(`\ufeff${text}`).content).toEqual(plain);
  const wrong = "hosts:\r\n  web:\r\n    pth: x\r\n";
  expect(complaint(wrong)).toMatch(/^fleet\.yaml:3:5: /);
  expect(complaint(`\ufeff${wrong}`)).toMatch(/^fleet\.yaml:3:5: /);
  expect(complaint("\ufeffhost:\n")).toMatch(/^fleet\.yaml:1:1: /);
});

test.each<[string, string, string]>([
  ["a key at the top", "hosts: {}\nsigner: []\n", "fleet.yaml:2:1: signer is not a known key; did you mean 'signers'?"],
  [
    "a key of the server",
    `${server}  adress: x\n`,
    "fleet.yaml:4:3: server.adress is not a known key; did you mean 'address'?",
  ],
  [
    "a key of a host",
    "hosts:\n  nas:\n    pth: hosts/x\n",
    "fleet.yaml:3:5: hosts.nas.pth is not a known key; did you mean 'path'?",
  ],
  [
    "a key in another case",
    "hosts:\n  nas: { Groups: [a] }\n",
    "fleet.yaml:2:10: hosts.nas.Groups is not a known key; did you mean 'groups'?",
  ],
  [
    "a key of a substituter",
    `substituters:\n  - url: https://x.org\n    key: "${CACHE_KEY}"\n    prio: 1\n`,
    "fleet.yaml:4:5: substituters.0.prio is not a known key; known keys: url, key",
  ],
  ["a key of git", "git:\n  remote: x\n  ref: y\n", "fleet.yaml:3:3: git.ref is not a known key; did you mean 'refs'?"],
  [
    "a key like no other",
    "hosts:\n  nas:\n    colour: red\n",
    "fleet.yaml:3:5: hosts.nas.colour is not a known key; known keys: key, path, config, attr, deliver, include, nixpkgs, agent, groups, ssh",
  ],
])("unknown: %s", (_, text, expected) => {
  expect(complaint(text)).toBe(expected);
});

test.each<[string, string, string]>([
  ["a server that is text", "server: fleet.example.org\n", "fleet.yaml:1:1: server must be a set of keys"],
  ["hosts in a list", "hosts:\n  - nas\n", "fleet.yaml:1:1: hosts must be a set of keys"],
  ["a host that is text", "hosts:\n  nas: hosts/nas\n", "fleet.yaml:2:3: hosts.nas must be a set of keys"],
  ["groups that are text", "hosts:\n  nas:\n    groups: canary\n", "fleet.yaml:3:5: hosts.nas.groups must be a list"],
  [
    "a group that is a number",
    "hosts:\n  nas:\n    groups: [a, 1]\n",
    "fleet.yaml:3:17: hosts.nas.groups.1 must be text",
  ],
  ["a port in quotes", `${server}  port: "22"\n`, "fleet.yaml:4:3: server.port must be a number"],
  ["a port that is too high", `${server}  port: 70000\n`, "fleet.yaml:4:3: server.port must be 65535 at most"],
  ["no port at all", `${server}  port: 0\n`, "fleet.yaml:4:3: server.port must be 1 at least"],
  ["a rollout without waves", "rollout: []\n", "fleet.yaml:1:1: rollout must not be empty"],
  ["a wave without hosts", "rollout:\n  - []\n", "fleet.yaml:2:5: rollout.0 must not be empty"],
  ["an empty attribute", "hosts:\n  nas:\n    attr: ''\n", "fleet.yaml:3:5: hosts.nas.attr must not be empty"],
  [
    "a nixpkgs from nowhere",
    `nixpkgs:\n  url: nixos-26.05\n  hash: "sha256-${"A".repeat(43)}="\n`,
    "fleet.yaml:2:3: nixpkgs.url must be a URL, https://…",
  ],
  ["a port in parts", `${server}  port: 22.5\n`, "fleet.yaml:4:3: server.port must be a whole number"],
  ["a whole file that is a list", "- a\n", "fleet.yaml:1:1: the file must be a set of keys"],
  ["a whole file that is text", "just text\n", "fleet.yaml:1:1: the file must be a set of keys"],
  [
    "another way of delivery",
    "hosts:\n  nas:\n    deliver: both\n",
    "fleet.yaml:3:5: hosts.nas.deliver must be one of: tree, system",
  ],
  [
    "a server without an address",
    `server:\n  hostKeys: ["${ED25519_1}"]\n`,
    "fleet.yaml:1:1: server.address is missing",
  ],
  ["a server without host keys", "server:\n  address: x\n", "fleet.yaml:1:1: server.hostKeys is missing"],
  [
    "a server with no host key",
    "server:\n  address: x\n  hostKeys: []\n",
    "fleet.yaml:3:3: server.hostKeys needs at least one pinned host key",
  ],
  [
    "a substituter with a password",
    `substituters:\n  - url: https://me:hun@ter2@cache.example.org\n    key: "${CACHE_KEY}"\n`,
    "fleet.yaml:2:5: substituters.0.url must not hold a password or a key: this file is committed, and every host gets it; a netrc-file on hosts can have it",
  ],
  [
    "a substituter with a token",
    `substituters:\n  - url: https://token@cache.example.org\n    key: "${CACHE_KEY}"\n`,
    "fleet.yaml:2:5: substituters.0.url must not hold a password or a key: this file is committed, and every host gets it; a netrc-file on hosts can have it",
  ],
  [
    "two addresses of substituters in one",
    `substituters:\n  - key: "${CACHE_KEY}"\n    url: https://a.example.org https://b.example.org\n`,
    "fleet.yaml:3:5: substituters.0.url must be one address without blanks in it",
  ],
  [
    "a substituter of a kind that there isn't",
    `substituters:\n  - url: htps://a.example.org\n    key: "${CACHE_KEY}"\n`,
    "fleet.yaml:2:5: substituters.0.url must be the address of a Nix store; did you mean 'https://'?",
  ],
  [
    "a substituter that is no address",
    `substituters:\n  - url: cache.example.org\n    key: "${CACHE_KEY}"\n`,
    "fleet.yaml:2:5: substituters.0.url must be the address of a Nix store; it begins with one of file, http, https, s3, ssh, ssh-ng, and ://",
  ],
  [
    "a place to push to with a password",
    "cache:\n  push: s3://me:hun@ter2@bucket\n",
    "fleet.yaml:2:3: cache.push must not hold a password or a key: this file is committed",
  ],
  [
    "a host's name with a dot",
    "hosts:\n  web.example.org:\n",
    "fleet.yaml:2:3: hosts.web.example.org must be a host name: lower-case letters, digits and '-', at most 63",
  ],
  [
    "a path out of the fleet",
    "hosts:\n  nas:\n    path: ../other\n",
    "fleet.yaml:3:5: hosts.nas.path must be a path inside the fleet, without '..', '.' or a slash at its ends",
  ],
  [
    "an include out of the fleet",
    "hosts:\n  nas:\n    include:\n      - flake.nix\n      - a/../../b\n",
    "fleet.yaml:5:9: hosts.nas.include.1 must be a path inside the fleet, without '..', '.' or a slash at its ends",
  ],
  [
    "something else than a key",
    "hosts:\n  nas:\n    key: ssh-ed25519 AAAAnonsense\n",
    "fleet.yaml:3:5: hosts.nas.key is not an ssh public key such as 'ssh-ed25519 AAAA… comment'",
  ],
  [
    "a key of another type than it says",
    `signers: ["ssh-rsa ${ED25519_1.split(" ")[1]}"]\n`,
    "fleet.yaml:1:11: signers.0 is not an ssh public key such as 'ssh-ed25519 AAAA… comment'",
  ],
  [
    "a key of two lines",
    `signers: ["${ED25519_1} x\\nbento ${ED25519_2}"]\n`,
    "fleet.yaml:1:11: signers.0 must be one line without control characters",
  ],
  [
    "a login prefix that no login can begin with",
    `${server}  loginPrefix: "9x"\n`,
    "fleet.yaml:4:3: server.loginPrefix must begin a unix login",
  ],
  [
    "git refs without the host",
    "git: { remote: x, refs: refs/heads/bento }\n",
    "fleet.yaml:1:19: git.refs must begin with refs/ and contain {host}",
  ],
])("wrong: %s", (_, text, expected) => {
  expect(complaint(text)).toBe(expected);
});

test("several problems at once, in the file's order, each with its place", () => {
  const text = "hosts:\n  nas:\n    pth: x\n    groups: 1\n  Web:\n    key: x\nserver:\n  port: 22\n";
  expect(complaint(text).split("\n")).toEqual([
    "fleet.yaml:3:5: hosts.nas.pth is not a known key; did you mean 'path'?",
    "fleet.yaml:4:5: hosts.nas.groups must be a list",
    "fleet.yaml:5:3: hosts.Web must be a host name: lower-case letters, digits and '-', at most 63",
    "fleet.yaml:7:1: server.address is missing",
    "fleet.yaml:7:1: server.hostKeys is missing",
  ]);
});

test.each<[string, string, RegExp]>([
  ["a tab", "hosts:\n\tnas:\n", /^fleet\.yaml:2:1: Tabs are not allowed as indentation$/],
  ["a key twice", "hosts:\n  nas:\n  web:\n  nas:\n", /^fleet\.yaml:4:3: the key nas is there twice$/],
  ["a list that isn't closed", "hosts:\n  nas: { groups: [a }\n", /^fleet\.yaml:2:\d+: /],
  ["a quote that isn't closed", 'hosts:\n  nas:\n    ssh: "root\n', /^fleet\.yaml:[34]:\d+: Missing closing "quote$/],
  ["a key without its colon", "hosts:\n  nas\n  web:\n", /^fleet\.yaml:2:3: /],
  ["two documents", "hosts: {}\n---\nhosts: {}\n", /^fleet\.yaml:2:1: Source contains multiple documents/],
  ["an alias of nothing", "hosts:\n  nas: *web\n", /^fleet\.yaml: it can't be read: Unresolved alias .*: web$/],
])("not YAML: %s", (_, text, expected) => {
  expect(complaint(text)).toMatch(expected);
});

test("anchors and aliases are YAML's business", () => {
  const { content } = parseFleetFile("hosts:\n  a: &lab { groups: [lab] }\n  b: *lab\n");
  expect(content.hosts.b?.groups).toEqual(["lab"]);
});

test("a file that would grow to billions when it is read is refused at once", () => {
  const bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"];
  for (let i = 1; i < 9; i++) {
    const above = String.fromCharCode(96 + i);
    const name = String.fromCharCode(97 + i);
    bomb.push(`${name}: &${name} [${Array(9).fill(`*${above}`).join(",")}]`);
  }
  expect(complaint(bomb.join("\n"))).toMatch(/^fleet\.yaml: it can't be read: Excessive alias count/);
});

test("one mistake with a thousand echoes is told in a few lines", () => {
  const lines = complaint(`hosts: ${"[".repeat(3_000)}`).split("\n");
  expect(lines).toHaveLength(22);
  expect(lines[0]).toMatch(/^fleet\.yaml:1:\d+: /);
  expect(lines.at(-1)).toMatch(/^… and \d+ more$/);
});

test("names that mean something to JavaScript are names like any other", () => {
  const { content } = parseFleetFile("hosts:\n  constructor:\n  prototype: { groups: [a] }\n  tostring:\n");
  expect(Object.keys(content.hosts)).toEqual(["constructor", "prototype", "tostring"]);
  expect(content.hosts.constructor).toMatchObject({ deliver: "tree" });
});

test.each([
  ["hosts:\n  nas:\n  __proto__:\n    groups: [a]\n", "fleet.yaml:3:3: hosts.__proto__ must be a host name"],
  ["__proto__:\n  signers: []\n", "fleet.yaml:1:1: __proto__ is not a known key"],
  ["hosts:\n  nas:\n    __proto__: { deliver: system }\n", "fleet.yaml:3:5: hosts.nas.__proto__ is not a known key"],
  ["constructor: 1\n", "fleet.yaml:1:1: constructor is not a known key"],
])("__proto__ is passed over nowhere: %j", (text, expected) => {
  expect(complaint(text)).toContain(expected);
  expect(({} as Record<string, unknown>).groups).toBeUndefined();
});

test("names that are numbers or truths to YAML are names", () => {
  const { content } = parseFleetFile("hosts:\n  1:\n  007:\n  true:\n  null:\n  1e3:\n");
  expect(Object.keys(content.hosts).sort()).toEqual(["007", "1", "1e3", "null", "true"]);
});

test("whatever the text, it is a fleet or an error with a place in it", () => {
  const piece = fc.constantFrom(
    ..."hosts: |server:|  |nas:|\n|- |[|]|{|}|&a |*a|!!str |# |\"|'|? |: |,|<<: |@|%|\t|\r\n|---\n|key: |path: .|groups: |null|1".split(
      "|",
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 25 }), (pieces) => {
      const text = pieces.join("");
      try {
        parseFleetFile(text);
      } catch (error) {
        expect(error).toBeInstanceOf(FleetError);
        const { at, message } = error as FleetError;
        expect(at?.file).toBe("fleet.yaml");
        expect(message).not.toBe("");
        // A file's end is a place as well: the line after the last.
        if (at?.line !== undefined) expect(at.line).toBeLessThanOrEqual(text.split("\n").length);
      }
    }),
    { numRuns: 1000 },
  );
});

test("locate finds what was parsed", () => {
  const { locate } = parseFleetFile("hosts:\n  nas:\n    groups:\n      - a\n      - b\n");
  expect(locate(["hosts", "nas"])).toEqual({ file: "fleet.yaml", line: 2, column: 3 });
  expect(locate(["hosts", "nas", "groups", 1])).toEqual({ file: "fleet.yaml", line: 5, column: 9 });
  expect(locate(["hosts", "nas", "key"])).toEqual({ file: "fleet.yaml", line: 2, column: 3 });
  expect(locate([])).toEqual({ file: "fleet.yaml", line: 1, column: 1 });
});

test("a cache's address has no password in it: the file is committed", () => {
  expect(parseFleetFile('cache: { push: "s3://fleet-cache?region=eu" }\n').content.cache).toEqual({
    push: "s3://fleet-cache?region=eu",
  });
  expect(complaint('cache:\n  push: "https://ci:secret@cache.example.org"\n')).toBe(
    "fleet.yaml:2:3: cache.push must not hold a password or a key: this file is committed",
  );
  expect(complaint("cache:\n  psuh: file:///srv\n")).toContain("fleet.yaml:2:3");
});
