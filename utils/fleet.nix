# services.bento-server: makes a NixOS machine the fleet's server, the one that hosts fetch their releases from and
# report to. Import it on that machine and set
#
#   services.openssh.enable = true;
#   services.bento-server.enable = true;
#
# Everything else is in fleet.json, which `bento render` makes from fleet.yaml: one login and one chroot for each host,
# and one login for the publisher, who reaches them all. utils/server/provision makes the same of a machine that isn't
# NixOS. What other logins of the machine can do stays as it is. Works on NixOS 20.09 and everything since.
#
# The server may be a host of the fleet itself (utils/bento.nix) and get its releases from its own sshd: its fleet.json
# is then as new as its last upgrade, and the first release of a new host goes in at the deploy after that. While it
# activates a system with other logins, NixOS makes the logins first, then the directories, and then restarts sshd,
# which keeps the sessions there are and is away for a moment; the agent asks for contact until its deadline, so that
# doesn't matter to it. A system whose sshd doesn't let its own agent in is put back like any other. Where the server
# can't reach itself by server.address, as behind some routers, set services.bento.sshConfig = "HostName 127.0.0.1".
{ config, lib, options, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.bento-server;

  fleet = if builtins.pathExists cfg.fleetFile then builtins.fromJSON (builtins.readFile cfg.fleetFile) else { };
  server = fleet.server or null;
  valid = server != null && problems == [ ];

  publisher = server.user;
  root = cfg.root;
  tree = server.tree or false;
  # ADDRESS:PORT of the binary cache that hosts reach through this sshd, or null.
  cache = server.cache or null;
  hosts = lib.mapAttrsToList (name: host: { inherit name; inherit (host) key login; }) (fleet.hosts or { });
  logins = [ publisher ] ++ map (host: host.login) hosts;

  # What fleet.json says becomes names of logins and files and lines of sshd's configuration, so it is looked at first,
  # also though `bento render` has done so.
  matches = pattern: text: builtins.isString text && builtins.match pattern text != null;
  isLogin = matches "[a-z_][a-z0-9_-]{0,31}";
  isKey = matches "(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*( [^\n\r]*)?";
  problems = lib.concatLists [
    (problem (fleet.version or null != 1) "it is not of version 1")
    (problem (!isLogin publisher) "server.user, '${publisher}', is no login")
    # Without characters that tmpfiles.d or sshd_config would take for something else.
    (problem (!matches "/[^][:space:]%:\"'\\\\]*[^][:space:]%:\"'\\\\/]" root)
      "server.root, '${root}', is no absolute path without spaces, quotes, backslashes, '%' and ':'")
    (problem (cache != null && !matches "([0-9.]{7,15}|\\[[0-9a-f:.]{2,45}]):[0-9]{1,5}" cache)
      "server.cache, '${toString cache}', is no ADDRESS:PORT in numbers")
    (problem (!lib.all isKey server.publishers) "a key of server.publishers is malformed")
    (lib.concatMap
      (host: problem (!matches "[a-z0-9][a-z0-9-]{0,62}" host.name) "'${host.name}' is no host name"
        ++ problem (!isLogin host.login) "the login of ${host.name}, '${host.login}', is none"
        ++ problem (!isKey host.key) "the key of ${host.name} is malformed")
      hosts)
    (problem (lib.unique logins != logins) "a login is there twice")
  ];
  problem = found: text: lib.optional found text;

  # A login of the fleet's that this machine has for somebody else already. Being given keys and members is all right:
  # that is how an administrator adds to what is made here.
  taken = what: allowed:
    let
      option = options.users.${what};
      definitions = lib.zipListsWith (file: value: { inherit file value; }) option.files option.definitions;
      others = login: lib.filter (definition: !(isOurs definition login) && claims (definition.value.${login} or { }))
        definitions;
      isOurs = definition: login: definition.value.${login}.description or null == comment
        || what == "groups" && removeAttrs (definition.value.${login} or { none = null; }) [ "gid" ] == { };
      claims = value:
        if value._type or null == "if" then value.condition && claims value.content
        else removeAttrs value allowed != { };
    in
    lib.concatMap (login: map (other: { inherit login what; inherit (other) file; }) (others login)) logins;
  collisions = taken "users" [ "openssh" ] ++ taken "groups" [ "members" ];
  comment = "Bento fleet";

  # NixOS has 600 numbers to give to logins and groups without one.
  idOf = login: if cfg.firstId == null then null else cfg.firstId + number (builtins.hashString "sha256" login);
  number = hash: lib.foldl' (sum: digit: sum * 16 + digits.${digit}) 0
    (lib.stringToCharacters (builtins.substring 0 7 hash));
  digits = lib.listToAttrs (lib.imap0 (value: name: lib.nameValuePair name value)
    (lib.stringToCharacters "0123456789abcdef"));

  size = lib.length logins;
  startups = if size > 200 then size else 200;

  # What sshd doesn't know, it refuses to start with.
  openssh = config.services.openssh.package or config.programs.ssh.package;
  hasPenalties = lib.versionAtLeast (lib.getVersion openssh) "9.8";

  # For all of sshd; what the machine itself says goes first.
  global = name: value:
    if options.services.openssh ? settings
    then { settings.${name} = lib.mkDefault value; }
    else { extraConfig = lib.mkBefore "${name} ${value}\n"; };

  restrict = "restrict";
  restrictToCache = if cache == null then restrict else ''restrict,port-forwarding,permitopen="${cache}"'';

  user = login: restrict: keys: {
    isSystemUser = true;
    uid = idOf login;
    group = login;
    description = comment;
    # Seen from inside the chroot.
    home = "/";
    createHome = false;
    # No password opens it; '!' would make sshd call it locked where it doesn't use PAM.
    hashedPassword = "*";
    openssh.authorizedKeys.keys = map (key: "${restrict} ${key}") keys;
  };

  # Hosts, and not the publisher, are connected to the fleet's cache and to nothing else, and nobody to them. Before what is
  # for all of the fleet's logins, since sshd takes the first of several.
  cacheRules = lib.optionalString (cache != null && hosts != [ ]) ''
    Match User ${lib.concatMapStringsSep "," (host: host.login) hosts}
      DisableForwarding no
      AllowTcpForwarding local
      PermitOpen ${cache}
      PermitListen none
      GatewayPorts no
      AllowStreamLocalForwarding no
      AllowAgentForwarding no
      X11Forwarding no
  '';

  # For all of the fleet's logins; sshd takes the first of several, so this goes before what is the same for others.
  sshdRules = cacheRules + ''
    Match User ${lib.concatStringsSep "," logins}
      ForceCommand internal-sftp -u 0027
      # Also where this machine otherwise lists who may log in.
      AllowUsers ${toString logins}
      AllowGroups ${toString logins}
      AuthenticationMethods publickey
      PubkeyAuthentication yes
      AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u
      AuthorizedKeysCommand none
      PasswordAuthentication no
      KbdInteractiveAuthentication no
      DisableForwarding yes
      PermitTTY no
      PermitTunnel no
      PermitUserRC no
      # A host that lost power must not keep its session here for hours.
      ClientAliveInterval 15
      ClientAliveCountMax 4
    Match User ${publisher}
      ChrootDirectory ${root}
  '' + lib.concatMapStrings (host: ''
    Match User ${host.login}
      ChrootDirectory ${root}/${host.name}
  '') hosts;
in
{
  options.services.bento-server = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether this machine is the fleet's server. It then has a login and a chroot for each host of fleet.json and one
        login for the publisher, all of them with sftp and nothing else. A host that left the fleet loses its login;
        what is in its chroot stays, for a person to look at and remove.
      '';
    };

    fleetFile = mkOption {
      type = types.path;
      default = ../fleet.json;
      defaultText = "../fleet.json, beside the directory of this module";
      example = "./fleet.json";
      description = ''
        What bento render has made of fleet.yaml. Where this machine is a host of the fleet itself, link the file into
        its directory, as utils is: ln -s ../../fleet.json .
      '';
    };

    root = mkOption {
      type = types.str;
      default = server.root;
      defaultText = "server.root of fleet.yaml";
      description = ''
        Where the chroots are. It and every directory above it must belong to root and be writable by nobody else, or
        sshd refuses the logins. Set it only for a machine that differs from what fleet.yaml says.
      '';
    };

    maxStartups = mkOption {
      type = types.nullOr types.str;
      default = "${toString startups}:30:${toString (startups * 5)}";
      defaultText = "200:30:1000, and more for a fleet of more than 200";
      description = ''
        sshd's MaxStartups: how many connections may be logging in at once before some are dropped. This one setting is
        for all of sshd, and not only for the fleet's logins: sshd's own 10:30:100 drops almost half of a hundred hosts
        that poll at the same moment. null leaves it as it is; one that this machine sets in
        services.openssh.settings goes first.
      '';
    };

    perSourcePenalties = mkOption {
      type = types.nullOr types.str;
      default = "authfail:1 noauth:0 grace-exceeded:1";
      description = ''
        sshd's PerSourcePenalties, which OpenSSH has since 9.8: for how many seconds an address is shut out that failed
        to log in. Hosts behind one router share an address, and by sshd's own numbers a few of them that the server
        doesn't know yet, or any more, shut out the others. Like maxStartups it is for all of sshd; null leaves it as
        it is.
      '';
    };

    firstId = mkOption {
      type = types.nullOr types.int;
      default = if size > 300 then 1879048192 else null;
      defaultText = "null, and 1879048192 for a fleet of more than 300";
      description = ''
        From which number on the logins and groups of the fleet get theirs, each one made of its login's name out of
        268 million. With null NixOS gives them numbers, of which it has 600 for everything on the machine. Logins that
        are there already keep theirs.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = config.services.openssh.enable;
        message = "services.bento-server is a part of sshd, which this machine doesn't run: set "
          + "services.openssh.enable = true.";
      }
      {
        assertion = builtins.pathExists cfg.fleetFile;
        message = "services.bento-server: there is no ${toString cfg.fleetFile}. Link it in (ln -s ../../fleet.json .)"
          + ", or set services.bento-server.fleetFile.";
      }
      {
        assertion = builtins.pathExists cfg.fleetFile -> server != null;
        message = "services.bento-server: ${toString cfg.fleetFile} has no server. Set server in fleet.yaml and run "
          + "'bento render'.";
      }
      {
        assertion = server != null -> problems == [ ];
        message = "services.bento-server: ${toString cfg.fleetFile} can't be used: "
          + "${lib.concatStringsSep "; " problems}. Run 'bento render'.";
      }
      {
        assertion = valid && cfg.firstId != null -> lib.length (lib.unique (map idOf logins)) == size;
        message = "services.bento-server: two of the fleet's logins have the same number. Rename one of the "
          + "hosts.";
      }
    ] ++ map
      (collision: {
        assertion = false;
        message = "services.bento-server: the fleet's login '${collision.login}' is in users.${collision.what} of this "
          + "machine already (${toString collision.file}). Rename the host, or set server.loginPrefix in fleet.yaml.";
      })
      (lib.optionals valid collisions);

    users.users = mkIf valid (
      { ${publisher} = user publisher restrict server.publishers; }
      // lib.listToAttrs (map (host: lib.nameValuePair host.login (user host.login restrictToCache [ host.key ])) hosts)
    );
    users.groups = mkIf valid (lib.genAttrs logins (login: lib.optionalAttrs (cfg.firstId != null) { gid = idOf login; }));

    # systemd-tmpfiles sets owners and modes also where the directories are there already, and follows no symlink in
    # their place; and only root could put one there, since each chroot is root's own.
    systemd.tmpfiles.rules = mkIf valid (
      [
        "d ${root} 0755 root root -"
        # The publisher's lock.
        "d ${root}/.bento 0700 ${publisher} ${publisher} -"
      ]
      # setgid: the host's group can read what the publisher puts in, and the publisher's what the host reports.
      ++ lib.concatMap (host: [
        "d ${root}/${host.name} 0755 root root -"
        "d ${root}/${host.name}/releases 2750 ${publisher} ${host.login} -"
        "d ${root}/${host.name}/reports 2750 ${host.login} ${publisher} -"
      ] ++ lib.optionals tree [
        # What a host of the 2022 Bento reads. Nothing can be made in a chroot but by root, so its tree is a symlink to one
        # that the publisher can change, and what says when it changed is a file of the publisher's.
        "d ${root}/${host.name}/trees 2750 ${publisher} ${host.login} -"
        "L+ ${root}/${host.name}/config - - - - trees/config"
        "f ${root}/${host.name}/last_change_date 0640 ${publisher} ${host.login} -"
        "d ${root}/${host.name}/logs 2750 ${host.login} ${publisher} -"
      ]) hosts
    );

    services.openssh = lib.mkMerge [
      # After everything else in sshd_config: whatever followed a Match block would be a part of it. Match all ends the
      # last one, should something follow all the same.
      (mkIf valid { extraConfig = lib.mkOrder 2000 "${sshdRules}Match all\n"; })
      (mkIf (cfg.maxStartups != null) (global "MaxStartups" cfg.maxStartups))
      (mkIf (cfg.perSourcePenalties != null && hasPenalties) (global "PerSourcePenalties" cfg.perSourcePenalties))
    ];
  };
}
