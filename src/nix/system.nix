# What Bento wants to know of a host's system, from its `config`: strings and booleans, so that the memory of the rest is free
# again. Attributes that a configuration doesn't have, or can't give, are null.
config:
let
  maybe = value: let tried = builtins.tryEval value; in if tried.success then tried.value else null;
  toplevel = config.system.build.toplevel;
  # A module of the fleet's own may have made something else of it.
  namesIn = value: if builtins.isAttrs value then builtins.attrNames value else null;
in
# Before anything else, so that its error is the one that is told.
builtins.seq toplevel.drvPath {
  drv = toplevel.drvPath;
  toplevel = toplevel.outPath;
  # A machine runs another one of these only after a reboot. A container has none.
  kernel = maybe (config.system.build.kernel.outPath or null);
  initrd = maybe (config.system.build.initialRamdisk.outPath or null);
  modules = maybe (config.system.modulesTree.outPath or null);
  # Bento's agent, and the name by which it will ask for releases.
  agent = maybe (config.services.bento.enable or false) == true;
  agentHost = maybe (config.services.bento.host or config.networking.hostName or null);
  # Where the agent gets systems from: auto, source or prebuilt.
  agentBuild = maybe (config.services.bento.build or null);
  # The names of the secrets that it needs, which come with its release.
  secrets = maybe (namesIn (config.services.bento.secrets or { }));
}
