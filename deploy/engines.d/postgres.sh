# PostgreSQL, from the system's packages: always one server.
# shellcheck shell=bash disable=SC2154 # $dir is the script's that reads this

postgres_fetch() {
    if [ -z "$(postgres_programs)" ]; then install_packages postgresql; fi
    [ -n "$(postgres_programs)" ] || die "there is no PostgreSQL server under /usr/lib/postgresql"
    needs_tools
}

# Where the newest server's programs are.
postgres_programs() {
    local programs
    for programs in /usr/lib/postgresql/*/bin; do
        if [ -x "$programs/initdb" ]; then echo "$programs"; fi
    done | sort -V | tail -n 1
}

postgres_prepare() {
    local node=postgres-1 programs data port as=()
    programs=$(postgres_programs)
    port=$(free_ports 1)
    new_node "$node"
    data=$dir/$node/data
    # Its server refuses to run as root, and another user need not reach $dir.
    if [ "$(id -u)" = 0 ]; then
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
        data=$(mktemp -d "${TMPDIR:-/tmp}/thalweg-postgres.XXXXXX")
        chown postgres: "$data"
        setting "$node" data_elsewhere "$data"
    fi
    setting "$node" port "$port"
    (
        cd /
        "${as[@]}" "$programs/initdb" --pgdata="$data" --username=thalweg --auth=trust --encoding=UTF8 --locale=C
    ) >"$dir/$node/log" 2>&1
    # What a killed server leaves of its shared memory is in its folder then, and goes with it.
    runs "$node" env -C / "${as[@]}" "$programs/postgres" -D "$data" -p "$port" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c max_connections=200 -c dynamic_shared_memory_type=mmap
}

# The first question also makes the database.
postgres_ready() {
    local port
    eval "$(settings "$1")"
    postgres_ask "$port" postgres "SELECT FROM pg_database WHERE datname = 'thalweg'" | grep -q '(1 row)' ||
        postgres_ask "$port" postgres 'CREATE DATABASE thalweg' || return 1
    postgres_ask "$port" thalweg 'SELECT 1'
}

postgres_ask() {
    PGCONNECT_TIMEOUT=5 "$(postgres_programs)/psql" --no-psqlrc -q -h 127.0.0.1 -p "$1" -U thalweg -d "$2" -c "$3"
}

postgres_address() {
    local port
    eval "$(settings postgres-1)"
    echo "THALWEG_POSTGRES_URL=postgres://thalweg@127.0.0.1:$port/thalweg"
}

# Ended at once it would leave shared memory behind, so it is told to.
postgres_signal() { if [ "$1" = gentle ]; then echo INT; else echo QUIT; fi; }

# Takes away what a killed server leaves behind: shared memory, and a file that keeps the next one from starting for as
# long as nobody has asked the system how the process ended.
postgres_killed() {
    local data_elsewhere='' left
    eval "$(settings "$1")"
    left=${data_elsewhere:-$dir/$1/data}/postmaster.pid
    if [ -f "$left" ]; then
        ipcrm --shmem-id "$(sed -n '7s/.* //p' "$left")" 2>/dev/null || true
        rm -f "$left"
    fi
}
