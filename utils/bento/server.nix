# services.bento.server, .signers and .substituters: what fleet.yaml says to all hosts, where one machine needs it otherwise.
{ config, lib, ... }:

let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.bento;
  fleet = if builtins.pathExists cfg.configFile then builtins.fromJSON (builtins.readFile cfg.configFile) else { };
  # Null for a fleet that has none.
  server = if fleet.server or null == null then { } else fleet.server;
in
{
  options.services.bento = {
    server = {
      address = mkOption {
        type = types.nullOr types.str;
        default = server.address or null;
        defaultText = "server.address of fleet.yaml";
        example = "10.0.0.1";
        description = ''
          Where the fleet's server is for this machine. Set it on one that reaches it by another address than the rest of the
          fleet: in its own network, or through an onion service.
        '';
      };
      port = mkOption {
        type = types.ints.between 1 65535;
        default = server.port or 22;
        defaultText = "server.port of fleet.yaml";
        description = "The port of its sshd. Set it with services.bento.server.address, where it is another one there.";
      };
      hostKeys = mkOption {
        type = types.listOf types.str;
        default = server.hostKeys or [ ];
        defaultText = "server.hostKeys of fleet.yaml";
        example = [ "ssh-ed25519 AAAA…" ];
        description = ''
          The server's ssh host keys; no others are taken. Set it where another machine stands in for the fleet's server.
        '';
      };
    };

    signers = mkOption {
      type = types.listOf types.str;
      default = fleet.signers or [ ];
      defaultText = "signers of fleet.yaml";
      example = [ "ssh-ed25519 AAAA… signing" ];
      description = ''
        Public ssh keys whose releases this machine takes. Set it for a machine that takes fewer than the rest of the fleet; who
        is in it is root here.
      '';
    };

    substituters = mkOption {
      # As fleet.yaml has them: an url, a key, and over where it takes that.
      type = types.listOf (types.attrsOf types.str);
      default = fleet.substituters or [ ];
      defaultText = "substituters of fleet.yaml";
      example = [ { url = "http://10.0.0.1:5000"; key = "cache.example.org-1:AAAA…"; } ];
      description = ''
        The fleet's binary caches, for this machine: an url, as substituters of nix.conf has it, and the key that it signs with.
        Set it where a nearer one is to be asked, or none.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.server.address != null -> cfg.server.hostKeys != [ ];
        message = "services.bento.server.hostKeys is empty, so no server would ever be taken for the fleet's. Put its "
          + "/etc/ssh/ssh_host_ed25519_key.pub into server.hostKeys of fleet.yaml and run 'bento render', or set it here.";
      }
      {
        assertion = lib.all (cache: cache ? url && cache ? key) cfg.substituters;
        message = "services.bento.substituters has one without an url or a key. Set both: nothing is taken from a cache that "
          + "isn't signed.";
      }
    ];
  };
}
