# Apache Kafka, each node broker and controller (KRaft).
# shellcheck shell=bash disable=SC2154 # $dir, $cache, $parts and $nodes are the script's that reads this

kafka_fetch() {
    needs_java
    needs_tools
    fetch_jars kafka
}

kafka_prepare() {
    local ports node id voters='' formatting=()
    read -r -a ports <<<"$(free_ports $((2 * nodes)))"
    for ((id = 1; id <= nodes; id++)); do voters+=${voters:+,}$id@127.0.0.1:${ports[2 * id - 1]}; done
    for ((id = 1; id <= nodes; id++)); do
        node=kafka-$id
        new_node "$node"
        setting "$node" id "$id"
        setting "$node" port "${ports[2 * id - 2]}"
        setting "$node" brokers "$nodes"
        kafka_properties "$node" "$id" "${ports[2 * id - 2]}" "${ports[2 * id - 1]}" "$voters"
        runs "$node" "$java" "${kafka_flags[@]}" "$(class_flag kafka)" "${jvm_home[@]}" \
            "-Dlog4j2.configurationFile=$parts/kafka.log4j2.properties" -cp "$cache/kafka/*" kafka.Kafka server.properties
        (
            cd "$dir/$node" || exit
            "$java" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "$(archive_flag kafka)" "${jvm_home[@]}" \
                -cp "$cache/kafka/*" kafka.tools.StorageTool format -t dGhhbHdlZy1lbmdpbmVzMQ -c server.properties >log 2>&1
        ) &
        formatting+=($!)
    done
    for id in "${formatting[@]}"; do wait "$id"; done
}

# kafka_properties NODE ID PORT CONTROLLER_PORT VOTERS; also decides on the JVM's flags.
kafka_properties() {
    local replication=1 in_sync=1
    # One node may take the machine, and compile well; three share it and have to start soon.
    kafka_flags=(-Xms64m -Xmx448m)
    if [ "$nodes" = 3 ]; then
        replication=3 in_sync=2
        kafka_flags=(-Xms64m -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
    fi
    {
        cat "$parts/kafka.properties"
        cat <<P
node.id=$2
controller.quorum.voters=$5
listeners=PLAINTEXT://127.0.0.1:$3,CONTROLLER://127.0.0.1:$4
log.dirs=data
broker.session.timeout.ms=$((nodes == 1 ? 2000 : 3000))
default.replication.factor=$replication
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replication
transaction.state.log.replication.factor=$replication
transaction.state.log.min.isr=$in_sync
share.coordinator.state.topic.replication.factor=$replication
share.coordinator.state.topic.min.isr=$in_sync
P
    } >"$dir/$1/server.properties"
}

kafka_ready() {
    local id port brokers living
    eval "$(settings "$1")"
    living=$(kafka_living)
    "$parts/ready" kafka "$id" "$port" "$((living < brokers ? living : brokers))"
}

# How many brokers can be expected in the metadata: those that were killed or frozen on purpose are not.
kafka_living() {
    local node count=0
    for node in $(nodes_of kafka); do
        if [ "$(state "$node")" = running ]; then count=$((count + 1)); fi
    done
    echo "$count"
}

kafka_address() {
    local node list=''
    for node in $(nodes_of kafka); do
        list+=${list:+,}127.0.0.1:$(eval "$(settings "$node")" && echo "$port")
    done
    echo "THALWEG_KAFKA_BROKERS=$list"
}

kafka_signal() { if [ "$1" = gentle ]; then echo TERM; else echo KILL; fi; }

kafka_killed() { :; }
