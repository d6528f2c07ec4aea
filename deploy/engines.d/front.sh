# The proxy in front of the roles: HAProxy, which routes by path as the Ingress of the Helm chart does.
# shellcheck shell=bash disable=SC2154 # $dir and $parts are the script's that reads this

front_fetch() {
    PATH=$PATH:/usr/sbin
    needs haproxy haproxy
    needs_tools
}

front_prepare() {
    local node=front-1 port role
    port=$(free_ports 1)
    new_node "$node"
    setting "$node" port "$port"
    {
        sed "s/@PORT@/$port/" "$parts/front.cfg"
        for role in ingest reader control-plane; do front_backend "$role"; done
    } >"$dir/$node/front.cfg"
    runs "$node" haproxy -db -f front.cfg
}

front_backend() {
    local node listen
    printf '\nbackend %s\n    option httpchk GET /readyz\n' "$1"
    for node in $(nodes_of "$1"); do
        eval "$(settings "$node")"
        echo "    server $node $listen check inter 250ms fall 2 rise 1"
    done
}

# Ready when every role behind it is.
front_ready() {
    local port
    eval "$(settings "$1")"
    python3 - "$port" <<'P'
import sys, urllib.error, urllib.request
base = f"http://127.0.0.1:{sys.argv[1]}"
for path in ("/readyz", "/http/channels/x/messages", "/channels/x/messages"):
    try:
        urllib.request.urlopen(base + path, timeout=5)
    except urllib.error.HTTPError as answer:
        if answer.code >= 500:
            sys.exit(f"{path} answers {answer.code}")
P
}

front_base() {
    local port
    eval "$(settings front-1)"
    echo "http://127.0.0.1:$port"
}

front_killed() { :; }
front_signal() { echo TERM; }
