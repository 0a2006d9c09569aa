{
  description = "A tiny nixpkgs for the demo and the tests";
  outputs = { self }: {
    lib.nixosSystem = args: import ./nixos/eval.nix args;
    legacyPackages = builtins.listToAttrs (map
      (system: { name = system; value = import ./. { inherit system; }; })
      [ "x86_64-linux" "aarch64-linux" ]);
  };
}
