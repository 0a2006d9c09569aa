{
  description = "The laptops: one flake, two hosts";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = { nixpkgs, ... }:
    let
      laptop = configuration: nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [ ./laptop.nix configuration ];
      };
    in
    {
      # Each of these is a host of the fleet, by this name.
      nixosConfigurations.t470 = laptop ./t470/configuration.nix;
      nixosConfigurations.x1 = laptop ./x1/configuration.nix;
    };
}
