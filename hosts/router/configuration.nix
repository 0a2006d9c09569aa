# The way to the internet for everybody else here: a small x86 box with two ports. Without a flake: the nixpkgs is the
# channel of whoever evaluates it, the runner for the check and the router itself for the upgrade.
{ config, pkgs, ... }:

let
  lan = "enp2s0";
  wan = "enp1s0";
in
{
  imports = [
    ./hardware-configuration.nix
    ./utils/bento.nix
  ];

  networking.hostName = "router";
  time.timeZone = "Europe/Berlin";

  services.bento = {
    enable = true;
    # If names can't be looked up any more, the whole house is offline: then the system before is the better one.
    healthChecks = [ ./checks/dns ];
    # The uplink takes a while to come back after its interface was reconfigured.
    confirm.timeout = 300;
  };

  # The LAN has fixed addresses below .100, and leases above.
  networking.useDHCP = false;
  systemd.network.enable = true;
  systemd.network.networks = {
    "10-wan" = {
      matchConfig.Name = wan;
      networkConfig.DHCP = "ipv4";
      # The router asks itself, see below.
      dhcpV4Config.UseDNS = false;
    };
    "20-lan" = {
      matchConfig.Name = lan;
      address = [ "10.0.0.1/24" ];
      networkConfig.DHCPServer = "yes";
      dhcpServerConfig = {
        PoolOffset = 100;
        PoolSize = 150;
        DNS = "10.0.0.1";
      };
      # The router is online when the WAN is, also if nothing is plugged in here.
      linkConfig.RequiredForOnline = "no";
    };
  };

  networking.nameservers = [ "127.0.0.1" ];
  services.coredns = {
    enable = true;
    config = ''
      . {
        bind 10.0.0.1 127.0.0.1
        hosts {
          10.0.0.1 router.lan
          10.0.0.2 nas.lan
          fallthrough
        }
        forward . 9.9.9.9 149.112.112.112
        cache
        errors
      }
    '';
  };

  boot.kernel.sysctl = {
    "net.ipv4.ip_forward" = 1;
    # The LAN's address is there only while something is plugged in, and coredns must start all the same.
    "net.ipv4.ip_nonlocal_bind" = 1;
  };

  # One ruleset instead of the firewall's and NAT's generated ones: on a router it is read more often than written.
  networking.firewall.enable = false;
  networking.nftables = {
    enable = true;
    ruleset = ''
      table inet filter {
        chain input {
          type filter hook input priority 0; policy drop;
          iifname lo accept
          ct state { established, related } accept
          ct state invalid drop
          iifname "${lan}" udp dport { 53, 67 } accept
          iifname "${lan}" tcp dport { 22, 53 } accept
          meta l4proto { icmp, ipv6-icmp } accept
        }
        chain forward {
          type filter hook forward priority 0; policy drop;
          ct state { established, related } accept
          iifname "${lan}" oifname "${wan}" accept
        }
      }
      table ip nat {
        chain postrouting {
          type nat hook postrouting priority 100;
          oifname "${wan}" masquerade
        }
      }
    '';
  };

  # Reached from the LAN only, see above, and with keys only.
  services.openssh = {
    enable = true;
    extraConfig = "AuthenticationMethods publickey";
  };
  users.users.root.openssh.authorizedKeys.keys = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO7ZYhZkeLAMbA/zPN2Dhg5VxX7nImMUXLcpr5eEUxuU grace"
  ];

  environment.systemPackages = with pkgs; [ ethtool tcpdump ];

  # The release that this machine was installed with, which says what its data looks like. Upgrades don't change it.
  system.stateVersion = "20.09";
}
