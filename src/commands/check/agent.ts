import type { Host } from "../../fleet/fleet.ts";
import type { System } from "../../nix/evaluate.ts";
import type { HostFailure } from "../../results.ts";

/** A machine that loses its agent, or whose agent asks for somebody else's release, never hears of the fleet again. */
export function agentProblem(host: Host, { agent, agentHost, agentBuild }: System): HostFailure | null {
  if (!agent) {
    return {
      message: "Bento's agent is not in this configuration: after this release the host would never take another",
      hint: `import ./utils/bento.nix and set services.bento.enable = true; or, if that is meant, agent: false for ${host.name} in fleet.yaml`,
    };
  }
  if (agentHost !== null && agentHost !== host.name) {
    return {
      message: `the agent would ask for the releases of '${agentHost}', and this host is called '${host.name}' in the fleet`,
      hint: `set services.bento.host = "${host.name}"`,
    };
  }
  if (host.deliver === "system" && agentBuild === "source") {
    return {
      message: "it is delivered its system alone, and its agent would build from source, of which there is none",
      hint: `set services.bento.build = "prebuilt"; or deliver: tree for ${host.name} in fleet.yaml`,
    };
  }
  return null;
}
