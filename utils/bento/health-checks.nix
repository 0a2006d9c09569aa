# services.bento.healthChecks: what tells whether a new system does this machine's job.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;

  # One directory of executables. What can't be one is found when the system is built, not when it is to be confirmed.
  healthChecks = pkgs.runCommand "bento-health-checks"
    { checks = map (check: "${check}") cfg.healthChecks; preferLocalBuild = true; allowSubstitutes = false; }
    ''
      mkdir $out
      for check in $checks; do
        # Of a package, each of its programs is a check.
        if [ -d "$check" ]; then files=("$check"/bin/*); else files=("$check"); fi
        for file in "''${files[@]}"; do
          if [ ! -f "$file" ] || [ ! -x "$file" ]; then
            echo "services.bento.healthChecks: $check is no executable file and has none in bin/ (chmod +x?)" >&2
            exit 1
          fi
          name=$(basename "$file")
          # Without the store's hash: it is the name that a report shows.
          if [[ $name =~ ^[0-9a-z]{32}-(.+)$ ]]; then name=''${BASH_REMATCH[1]}; fi
          if [ -e "$out/$name" ]; then
            echo "services.bento.healthChecks: two are called $name" >&2
            exit 1
          fi
          ln -s "$file" "$out/$name"
        done
      done
    '';
in
{
  options.services.bento = {
    healthChecks = mkOption {
      type = types.listOf types.path;
      default = [ ];
      example = [ "./checks/dns" ];
      description = ''
        Executables of the repository, or packages whose bin/ has some, that tell by their exit status whether this
        machine does its job. A new system stays only if all of them succeed three times in a row after its activation,
        and the server can be reached; otherwise the machine goes back. They run as root, each for 30 seconds at most,
        and by their names a report says which one failed: see docs/health-checks.md. Add one for what would make you drive to the machine.
      '';
    };
  };

  config = mkIf (cfg.enable && cfg.healthChecks != [ ]) {
    services.bento.environment.BENTO_HEALTH_CHECKS = mkDefault "${healthChecks}";
  };
}
