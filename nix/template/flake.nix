{
  description = "A fleet";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.bento.url = "github:bento-nix/bento?dir=nix";
  inputs.bento.inputs.nixpkgs.follows = "nixpkgs";

  outputs = { nixpkgs, bento, ... }: {
    nixosConfigurations.example = nixpkgs.lib.nixosSystem {
      system = "x86_64-linux";
      modules = [
        bento.nixosModules.bento
        { services.bento.configFile = ./utils/bento.json; }
        ./hosts/example/configuration.nix
      ];
    };
  };
}
