# A few packages, each a directory with one script in it.
{ system ? builtins.currentSystem }:
let
  package = pname: version: derivation {
    name = "${pname}-${version}";
    inherit pname version system;
    builder = "/bin/sh";
    args = [ "-c" ''
      PATH=/run/current-system/sw/bin:/usr/bin:/bin
      mkdir -p $out/bin && printf '#!/bin/sh\necho %s %s\n' $pname $version > $out/bin/$pname && chmod +x $out/bin/$pname
    '' ];
  };
in
builtins.mapAttrs package {
  curl = "8.17.0";
  git = "2.52.0";
  htop = "3.4.1";
  nginx = "1.29.3";
  openssh = "10.2p1";
  postgresql = "18.1";
  tmux = "3.6";
}
