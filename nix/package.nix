# The command line, as it is committed: dist/ is built already. Nix itself is the machine's own.
{ lib, stdenvNoCC, nodejs, runtimeShell, git, openssh, age }:

assert lib.assertMsg (lib.versionAtLeast nodejs.version "22") "bento needs Node 22 or later, and this is ${nodejs.version}";

let
  # `bento init` copies them into a fleet.
  workflows = map (name: ../.github/workflows + "/${name}.yml") [ "check" "comment" "deploy" "status" "update" ];
in

stdenvNoCC.mkDerivation {
  pname = "bento";
  version = (builtins.fromJSON (builtins.readFile ../package.json)).version;

  # What it is made of alone, so that a change elsewhere in the repository makes no other package.
  src = builtins.path {
    name = "bento-source";
    path = ../.;
    filter = path: _:
      builtins.any (part: path == toString part || lib.hasPrefix "${toString part}/" path)
        ([ ../dist ../utils ../share ../action.yml ../package.json ] ++ workflows)
      || builtins.elem path (map toString [ ../.github ../.github/workflows ]);
  };

  dontConfigure = true;
  dontBuild = true;

  installPhase = ''
    mkdir -p $out/lib/bento $out/bin $out/share/bash-completion/completions $out/share/zsh/site-functions
    mkdir -p $out/share/fish/vendor_completions.d
    cp -r dist utils action.yml package.json .github $out/lib/bento
    cp -r share/man $out/share
    cat > $out/bin/bento << EOF
    #!${runtimeShell}
    PATH=\$PATH\''${PATH:+:}${lib.makeBinPath [ git openssh age ]} exec ${nodejs}/bin/node $out/lib/bento/dist/cli.js "\$@"
    EOF
    chmod +x $out/bin/bento
    $out/bin/bento completion bash > $out/share/bash-completion/completions/bento
    $out/bin/bento completion zsh > $out/share/zsh/site-functions/_bento
    $out/bin/bento completion fish > $out/share/fish/vendor_completions.d/bento.fish
  '';

  meta = {
    description = "Keeps a fleet of NixOS machines up to date from one git repository";
    license = lib.licenses.mit;
    mainProgram = "bento";
    platforms = lib.platforms.unix;
  };
}
