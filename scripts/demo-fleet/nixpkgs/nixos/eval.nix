# Modules in, a system out: the least that has the shape of NixOS's evaluation.
{ system ? builtins.currentSystem, modules, specialArgs ? { } }:
let
  known = [ "boot" "environment" "networking" "services" "system" "time" "users" ];

  lib = {
    version = "0-tiny";
    optional = condition: value: if condition then [ value ] else [ ];
    mkForce = value: { _force = value; };
  };
  pkgs = import ../. { inherit system; } // { inherit system lib; };

  isForced = value: builtins.isAttrs value && value ? _force;
  merge = a: b:
    if isForced b || isForced a && !(isForced b) then (if isForced b then b else a)
    else if builtins.isList a && builtins.isList b then a ++ b
    else if builtins.isAttrs a && builtins.isAttrs b && !(a ? drvPath) && !(b ? drvPath) then
      a // builtins.mapAttrs (name: value: if a ? ${name} then merge a.${name} value else value) b
    else b;
  unforce = value:
    if isForced value then unforce value._force
    else if builtins.isAttrs value && !(value ? drvPath) then builtins.mapAttrs (_: unforce) value
    else value;

  # A module's definitions and those of its imports, the imports first.
  collect = module:
    let
      file = if builtins.isPath module || builtins.isString module then toString module else "<inline>";
      loaded = if builtins.isPath module || builtins.isString module then import module else module;
      definitions = if builtins.isFunction loaded then loaded ({ inherit config lib pkgs; } // specialArgs) else loaded;
      unknown = builtins.filter (name: !(builtins.elem name known)) (builtins.attrNames (removeAttrs definitions [ "imports" ]));
    in
    if unknown != [ ] then
      throw "The option `${builtins.head unknown}' does not exist. Definition values:\n- In `${file}'"
    else
      builtins.concatMap collect (definitions.imports or [ ]) ++ [ (removeAttrs definitions [ "imports" ]) ];

  defaults = {
    boot = { kernelVersion = "6.18.1"; files = null; kernelParams = [ "loglevel=4" ]; };
    environment = { systemPackages = [ ]; etc = { }; };
    networking = { hostName = "nixos"; gateway = "127.0.0.1"; };
    system = { stateVersion = "26.05"; activationScript = ""; bootScript = ""; initScript = ""; switch.inhibitors = { }; };
  };
  defined = unforce (builtins.foldl' merge defaults (builtins.concatMap collect modules));

  # A configuration file may say whom to talk to in ssh's own words, as programs.ssh.extraConfig does.
  etc = { "ssh/ssh_config" = "Host *\n  HostName ${defined.networking.gateway}\n  KexAlgorithms curve25519-sha256\n"; } // defined.environment.etc;

  name = "nixos-system-${defined.networking.hostName}-${defined.system.stateVersion}";
  toplevel = derivation {
    inherit name system;
    builder = "/bin/sh";
    args = [ ./build-system.sh ];
    inherit (defined.system) activationScript bootScript initScript stateVersion;
    # Links to what may be the same in many systems, as in NixOS.
    kernel = part "linux";
    initrd = part "initrd";
    kernelModules = part "kernel-modules";
    inherit (defined.boot) kernelParams;
    # What can't be another while the system runs, by names that say what.
    switchInhibitors = builtins.toJSON defined.system.switch.inhibitors;
    packages = map (p: "${p}") defined.environment.systemPackages;
    etcNames = builtins.attrNames etc;
    etcTexts = map (text: builtins.toFile "etc-file" text) (builtins.attrValues etc);
  };
  # Store paths that are others when the kernel is another one.
  part = name:
    if defined.boot.files == null then builtins.toFile name defined.boot.kernelVersion
    else "${/. + "${defined.boot.files}/${name}"}";
  build = {
    inherit toplevel;
    kernel.outPath = part "linux";
    initialRamdisk.outPath = part "initrd";
  };
  config = defined // { system = defined.system // { inherit build; modulesTree.outPath = part "kernel-modules"; }; };
in
{ inherit config pkgs; }
