{
  inputs.nixpkgs.url = "path:@nixpkgs@";

  outputs = { nixpkgs, ... }:
    let
      laptop = module: nixpkgs.lib.nixosSystem {
        system = "@system@";
        modules = [ ./laptop.nix module ];
      };
    in
    {
      nixosConfigurations.laptop-anna = laptop ./anna.nix;
      nixosConfigurations.laptop-ben = laptop ./ben.nix;
    };
}
