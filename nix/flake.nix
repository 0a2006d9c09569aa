# Used as github:bento-nix/bento?dir=nix. It isn't at the top of the repository, since a flake beside a fleet.yaml is where a fleet
# may have its hosts, and the fleet there is the example.
{
  description = "Keeps a fleet of NixOS machines up to date from one git repository";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      package = system: rec {
        bento = (import ../default.nix { pkgs = nixpkgs.legacyPackages.${system}; }).bento;
        default = bento;
      };
    in
    {
      packages = builtins.listToAttrs (map (name: { inherit name; value = package name; }) systems);
      nixosModules = import ./modules.nix;
      templates.default = {
        path = ./template;
        description = "A fleet with one host";
        # It is rendered as Markdown.
        welcomeText = ''
          Next:

              git init -b main
              bento keygen ~/bento-keys
              # In fleet.yaml, take the # away from the server and the signers, and put in their keys; then
              bento render
              git add -A
              nix flake lock
              git add -A
              git commit -m "A fleet"
              bento check
        '';
      };
    };
}
