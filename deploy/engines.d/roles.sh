# The roles of Thalweg, each process with the settings that it needs and no others.
# shellcheck shell=bash disable=SC2034,SC2154 # $dir, $root, $program, $nodes and $each are the script's that reads this; settings are read by name

thalweg_program() {
    local found=${THALWEG:-$root/target/release/thalweg}
    [ -x "$found" ] || die "there is no $found: build it first (make build), or name another in THALWEG"
    realpath "$found"
}

# A random secret, as the settings take it.
secret() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

# What no role is given but those that need it: each runs alone with only its own connections.
OWN_SETTINGS=(KAFKA_BROKERS CQL_NODES POSTGRES_URL INTERNAL_SECRET CONTROL_PLANE_URL TOKEN_SECRET SEALING_SECRET ADMIN_PASSWORD
    INTERNAL_LISTEN WEBHOOKS_ALLOW_PRIVATE)
declare -A NEEDS=(
    [ingest]='KAFKA_BROKERS INTERNAL_SECRET CONTROL_PLANE_URL'
    [writer]='KAFKA_BROKERS CQL_NODES'
    [reader]='CQL_NODES INTERNAL_SECRET CONTROL_PLANE_URL'
    [control-plane]='KAFKA_BROKERS CQL_NODES POSTGRES_URL INTERNAL_SECRET TOKEN_SECRET SEALING_SECRET ADMIN_PASSWORD INTERNAL_LISTEN WEBHOOKS_ALLOW_PRIVATE'
    [webhooks]='KAFKA_BROKERS POSTGRES_URL SEALING_SECRET WEBHOOKS_ALLOW_PRIVATE'
)

# Folders and settings of all of them. What the environment gives goes before what is made up here.
roles_prepare() {
    local number role node internal urls=''
    read -r -a internal <<<"$(free_ports $((each + each * ${#ROLES[@]})))"
    for ((number = 0; number < each; number++)); do urls+=${urls:+,}http://127.0.0.1:${internal[number]}; done
    : "${THALWEG_TRUSTED_PROXIES:=127.0.0.0/8}" "${THALWEG_KAFKA_REPLICATION:=$nodes}" "${THALWEG_CQL_REPLICAS:=$nodes}"
    : "${THALWEG_KAFKA_IN_SYNC_MIN:=$((nodes / 2 + 1))}" "${THALWEG_ADMIN_PASSWORD:=12345678}"
    : "${THALWEG_INTERNAL_SECRET:=cluster:$(secret)}" "${THALWEG_TOKEN_SECRET:=cluster:$(secret)}"
    : "${THALWEG_SEALING_SECRET:=$(secret)}" "${THALWEG_WEBHOOKS_ALLOW_PRIVATE:=true}"
    THALWEG_CONTROL_PLANE_URL=$urls
    local ports=("${internal[@]:each}")
    for role in "${ROLES[@]}"; do
        for ((number = 1; number <= each; number++)); do
            node=$role-$number
            new_node "$node"
            setting "$node" listen "127.0.0.1:${ports[0]}"
            ports=("${ports[@]:1}")
            THALWEG_INTERNAL_LISTEN=127.0.0.1:${internal[number - 1]}
            role_runs "$node" "$role"
        done
    done
}

# role_runs NODE ROLE: with settings that nobody else on the machine can read.
role_runs() {
    local listen name variable
    eval "$(settings "$1")"
    (
        umask 077
        {
            for name in "${OWN_SETTINGS[@]}"; do echo "unset THALWEG_$name"; done
            for name in ${NEEDS[$2]} TRUSTED_PROXIES KAFKA_REPLICATION KAFKA_IN_SYNC_MIN CQL_REPLICAS; do
                variable=THALWEG_$name
                printf 'export %s=%q\n' "$variable" "${!variable}"
            done
            printf 'exec %q serve --role %q --listen %q\n' "$program" "$2" "$listen"
        } >"$dir/$1/run"
    )
}

# Ready when it says so; asked without a program, because it is asked often.
role_ready() {
    local listen status line
    eval "$(settings "$1")"
    exec 3<>"/dev/tcp/${listen%:*}/${listen#*:}" || return
    printf 'GET /readyz?verbose HTTP/1.0\r\nHost: %s\r\n\r\n' "$listen" >&3
    read -r -t 5 _ status _ <&3 || { echo "it does not answer"; return 1; }
    [ "$status" != 200 ] || return 0
    # What it lacks stands behind the head.
    while read -r -t 5 line <&3 && [ "$line" != $'\r' ]; do :; done
    while read -r -t 5 line <&3 || [ -n "$line" ]; do echo "$line"; done
    return 1
}

control-plane_ready() { role_ready "$1"; }
writer_ready() { role_ready "$1"; }
ingest_ready() { role_ready "$1"; }
reader_ready() { role_ready "$1"; }
webhooks_ready() { role_ready "$1"; }
control-plane_signal() { echo TERM; }
writer_signal() { echo TERM; }
ingest_signal() { echo TERM; }
reader_signal() { echo TERM; }
webhooks_signal() { echo TERM; }
control-plane_killed() { :; }
writer_killed() { :; }
ingest_killed() { :; }
reader_killed() { :; }
webhooks_killed() { :; }
