{
  inputs.nixpkgs.url = "path:@nixpkgs@";

  outputs = { nixpkgs, ... }: {
    nixosConfigurations.nas = nixpkgs.lib.nixosSystem {
      system = "@system@";
      modules = [ ./configuration.nix ];
    };
  };
}
