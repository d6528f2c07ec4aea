# Processes: one folder a node under $dir, with the command that runs it, its settings, its log and its process.
# A process is named by its id and its start, so that a number that was given out again is never mistaken for it.
# shellcheck shell=bash disable=SC2154 # $dir and $parts are the script's that reads this

# How long a node may take to end before it is killed.
END_SECONDS_MAX=30

nodes_of() {
    local node
    for node in "$dir/$1"-[1-9]/; do
        if [ -d "$node" ]; then basename "$node"; fi
    done
}

# new_node NODE: its folder. The caller adds settings with `setting` and a command with `runs`.
new_node() { mkdir -p "$dir/$1/data" "$dir/$1/tmp"; : >"$dir/$1/process"; : >"$dir/$1/settings"; }
setting() { printf '%s=%q\n' "$2" "$3" >>"$dir/$1/settings"; }
settings() { cat "$dir/$1/settings"; }
runs() {
    local node=$1
    shift
    { printf 'exec'; printf ' %q' "$@"; echo; } >"$dir/$node/run"
}

# Ports that nothing listens on, outside the range from which the system gives out the ports of clients: a node that
# is started again finds its port free.
free_ports() {
    python3 - "$1" <<'P'
import random, socket, sys
held = []
while len(held) < int(sys.argv[1]):
    port = random.randint(12000, 31999)
    try:
        held.append([socket.create_server((f"127.0.0.{host}", port)) for host in (1, 2, 3)])
    except OSError:
        continue
print(*(sockets[0].getsockname()[1] for sockets in held))
P
}

# In a session of its own, so that no key press at a terminal ends it, and without this script's open files, so that
# nobody waits for the end of a pipe that an engine holds.
launch() {
    local node=$1 pid file
    (
        for file in /proc/self/fd/*; do
            file=${file##*/}
            if [ "$file" -gt 2 ]; then eval "exec $file>&-"; fi
        done
        cd "$dir/$node" || exit
        exec setsid bash run
    ) </dev/null >>"$dir/$node/log" 2>&1 &
    pid=$!
    disown "$pid"
    echo "$pid $(start_of "$pid")" >"$dir/$node/process"
}

# When a process started, in the system's ticks since it was booted; nothing if it has ended.
start_of() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # Behind the name, which may hold anything: state is the 1st field, the start the 20th.
    read -r -a stat <<<"${stat##*) }"
    if [ "${stat[0]}" != Z ]; then echo "${stat[19]}"; fi
}

# The process of a node that lives; nothing if there is none.
process_of() {
    local pid start
    read -r pid start <"$dir/$1/process" || return 0
    if [ -n "$start" ] && [ "$(start_of "$pid")" = "$start" ]; then echo "$pid"; fi
}

state() {
    local pid
    pid=$(process_of "$1")
    if [ -z "$pid" ]; then
        echo dead
    elif grep -q '^State:.T' "/proc/$pid/status" 2>/dev/null; then
        echo frozen
    else
        echo running
    fi
}

# Waits until the node serves, or says why it does not.
await() {
    local node=$1 reason deadline=$((SECONDS + READY_SECONDS_MAX))
    until reason=$("${node%-*}_ready" "$node" 2>&1); do
        [ -n "$(process_of "$node")" ] || die "$node has ended: see $dir/$node/log"
        [ $SECONDS -lt $deadline ] || die "$node is not ready after $READY_SECONDS_MAX s: $reason"
        sleep 0.2
    done
}

known() { [ -f "$dir/$1/process" ] || die "there is no node $1 in $dir"; }

# signal NODE NAME: to the node's process, which tells its children what to do.
signal() {
    local pid
    pid=$(process_of "$1")
    if [ -n "$pid" ]; then kill -s "$2" "$pid" 2>/dev/null || true; fi
}

# signal_family NODE NAME: to the node's process and its children, and prints their ids. It is stopped first, so that it
# has no new ones meanwhile.
signal_family() {
    local pid family
    pid=$(process_of "$1")
    [ -n "$pid" ] || return 0
    kill -s STOP "$pid" 2>/dev/null || true
    mapfile -t family < <(echo "$pid" && pgrep -P "$pid")
    kill -s "$2" "${family[@]}" 2>/dev/null || true
    echo "${family[@]}"
}

# Tells a node to end, also one that is frozen.
end() { signal "$1" "$2"; signal_family "$1" CONT >/dev/null; }

await_end() {
    local node=$1 deadline=$((SECONDS + END_SECONDS_MAX))
    while [ -n "$(process_of "$node")" ]; do
        if [ $SECONDS -ge $deadline ]; then
            say "$node does not end, and is killed"
            signal_family "$node" KILL >/dev/null
            deadline=$((SECONDS + END_SECONDS_MAX))
        fi
        sleep 0.05
    done
}

forget() {
    local data
    "${1%-*}_killed" "$1"
    data=$(eval "$(settings "$1")" && echo "${data_elsewhere:-}")
    rm -rf "${dir:?}/$1" ${data:+"$data"}
}

kill_node() {
    local family pid
    known "$1"
    read -r -a family <<<"$(signal_family "$1" KILL)"
    await_end "$1"
    for pid in "${family[@]}"; do
        while [ -n "$(start_of "$pid")" ]; do sleep 0.02; done
    done
    "${1%-*}_killed" "$1"
}
freeze_node() { known "$1"; signal_family "$1" STOP >/dev/null; }
thaw_node() { known "$1"; signal_family "$1" CONT >/dev/null; }
# All of them end before one starts again: a node may need others to be ready.
restart_nodes() {
    local node
    for node; do
        known "$node"
        end "$node" "$("${node%-*}_signal" gentle)"
    done
    for node; do await_end "$node"; done
    for node; do launch "$node"; done
    for node; do await "$node"; done
}
