import { afterAll, beforeAll, expect, test } from "vitest";
import { Nix } from "../../src/nix/nix.ts";
import { evaluateTree, type Files, failureOf } from "./evaluate-host.ts";
import { privateStore, type Store } from "./store.ts";

// Configurations that use what a host doesn't have.

let store: Store;
let nix: Nix;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
});
afterAll(() => store.remove());

const evaluate = (name: string, files: Files) => evaluateTree(store, nix, name, files);
const system = (modules: string) => `nixpkgs.lib.nixosSystem { system = "${store.system}"; modules = [ ${modules} ]; }`;

const outside = {
  message: "it uses ../../secret.nix, which is outside of hosts/web: it would be missing on the host",
  hint: "link it in: ln -s ../../secret.nix hosts/web/secret.nix && git add hosts/web/secret.nix; then use ./secret.nix",
  file: "hosts/web/configuration.nix",
  line: 1,
  column: 15,
};

test("an import out of a flake", async () => {
  const { result } = await evaluate("outside-flake", {
    "flake.nix": store.flake(`{ web = ${system("./configuration.nix")}; }`),
    "configuration.nix": "{ imports = [ ../../secret.nix ]; }",
  });
  expect(failureOf(result)).toMatchObject(outside);
});

test("an import out of a host without a flake", async () => {
  const { result } = await evaluate("outside-channel", { "configuration.nix": "{ imports = [ ../../secret.nix ]; }" });
  expect(failureOf(result)).toMatchObject(outside);
});

test("a file of the machine itself is out of reach of a host without a flake", async () => {
  const { result } = await evaluate("passwd", {
    "configuration.nix": "{\n  networking.hostName = builtins.readFile /etc/hostname;\n}\n",
  });
  expect(failureOf(result)).toMatchObject({
    message: "it uses /etc/hostname, which a host does not have",
    file: "hosts/web/configuration.nix",
    line: 2,
  });
});

test("an import of what git doesn't track", async () => {
  const files = { "configuration.nix": "{ imports = [ ./gone.nix ]; }" };
  const flake = { ...files, "flake.nix": store.flake(`{ web = ${system("./configuration.nix")}; }`) };
  for (const [index, tree] of [files, flake].entries()) {
    const failure = failureOf((await evaluate(`untracked-${index}`, tree)).result);
    expect(failure).toMatchObject({
      message: "there is no hosts/web/gone.nix, or git doesn't track it",
      hint: "if it is there: git add hosts/web/gone.nix",
      file: "hosts/web/configuration.nix",
      line: 1,
    });
  }
});
