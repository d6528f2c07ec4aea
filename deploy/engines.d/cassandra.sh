# Apache Cassandra, in the place of ScyllaDB: nodes on 127.0.0.1, .2 and .3 with the same ports.
# shellcheck shell=bash disable=SC2154 # $dir, $cache, $parts and $nodes are the script's that reads this

cassandra_fetch() {
    needs_java
    needs_tools
    fetch_jars cassandra
}

cassandra_prepare() {
    local native storage node id seeds=''
    read -r native storage <<<"$(free_ports 2)"
    for ((id = 1; id <= nodes; id++)); do seeds+=${seeds:+,}127.0.0.$id:$storage; done
    for ((id = 1; id <= nodes; id++)); do
        node=cassandra-$id
        new_node "$node"
        setting "$node" address "127.0.0.$id"
        setting "$node" port "$native"
        setting "$node" members "$nodes"
        cassandra_yaml "$node" "$id" "$native" "$storage" "$seeds"
        # Without jamm as an agent, which the archive of classes does not go with: Cassandra then measures its objects in another way.
        runs "$node" "$java" -Xms256m -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "$(class_flag cassandra)" \
            "${jvm_home[@]}" "@$parts/cassandra.jvm" "-Dlogback.configurationFile=$parts/cassandra.logback.xml" \
            "-Dcassandra.config=file://$dir/$node/cassandra.yaml" \
            "-Dcassandra.storagedir=$dir/$node/data" "-Dcassandra.logdir=$dir/$node" \
            -cp "$cache/cassandra/*" org.apache.cassandra.service.CassandraDaemon
    done
}

# cassandra_yaml NODE ID NATIVE_PORT STORAGE_PORT SEEDS
cassandra_yaml() {
    {
        cat "$parts/cassandra.yaml"
        cat <<Y
listen_address: 127.0.0.$2
rpc_address: 127.0.0.$2
native_transport_port: $3
storage_port: $4
# Tokens that split the ring evenly: nodes with known tokens start all at once.
initial_token: $(cassandra_token "$2")
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{ seeds: "$5" }]
data_file_directories: [$dir/$1/data/rows]
commitlog_directory: $dir/$1/data/commitlog
saved_caches_directory: $dir/$1/data/caches
hints_directory: $dir/$1/data/hints
cdc_raw_directory: $dir/$1/data/cdc
Y
    } >"$dir/$1/cassandra.yaml"
}

# Below 2^63, which the shell's own numbers reach.
cassandra_token() { echo $((-0x7fffffffffffffff - 1 + ($1 - 1) * 2 * (0x7fffffffffffffff / nodes))); }

# Of several nodes each has to reach the others: those that live answer a read of a table that is on three nodes.
cassandra_ready() {
    local address port members queries=("ONE:SELECT cluster_name FROM system.local")
    eval "$(settings "$1")"
    if [ "$members" = 3 ]; then
        queries+=("$(cassandra_consistency):SELECT * FROM system_distributed.view_build_status WHERE keyspace_name='' AND view_name=''")
    fi
    "$parts/ready" cassandra "$address" "$port" "${queries[@]}"
}

cassandra_consistency() {
    local node consistency=ALL
    for node in $(nodes_of cassandra); do
        if [ "$(state "$node")" != running ]; then consistency=QUORUM; fi
    done
    echo "$consistency"
}

cassandra_address() {
    local node list=''
    for node in $(nodes_of cassandra); do
        list+=${list:+,}$(eval "$(settings "$node")" && echo "$address:$port")
    done
    echo "THALWEG_CQL_NODES=$list"
}

cassandra_signal() { if [ "$1" = gentle ]; then echo TERM; else echo KILL; fi; }

cassandra_killed() { :; }
