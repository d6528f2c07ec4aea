# What the engines are made of: jars from Maven, checked against sums that are committed here, and Debian packages.
#
# The sums, not Maven's own strict checking, because Maven compares a file with a sum that the same registry served: that
# finds a broken transfer, not another file. What is there and matches is never fetched again.
# shellcheck shell=bash disable=SC2154 # $cache and $parts are the script's that reads this

COPY=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies

# fetch_jars ENGINE: into $cache/ENGINE, from ENGINE.pom.xml, as ENGINE.sha256 says.
fetch_jars() {
    local engine=$1 lock
    mkdir -p "$cache"
    exec {lock}>"$cache/lock"
    flock "$lock"
    if ! has_jars "$engine" "$cache/$engine"; then
        needs mvn maven
        say "fetching the jars of $engine"
        rm -rf "${cache:?}/$engine" "$cache/$engine.partial" "$cache/$engine"-*.jsa
        mvn -q -B -f "$parts/$engine.pom.xml" "$COPY" -DincludeScope=runtime \
            -DoutputDirectory="$cache/$engine.partial" >"$cache/maven.log" 2>&1 ||
            { cat "$cache/maven.log" >&2; die "Maven does not bring the jars of $engine"; }
        has_jars "$engine" "$cache/$engine.partial" || die "the jars of $engine are not those of $parts/$engine.sha256"
        mv "$cache/$engine.partial" "$cache/$engine"
    fi
    exec {lock}>&-
}

# Exactly the files of the list, each as it should be.
has_jars() {
    local sums=$parts/$1.sha256
    [ -d "$2" ] && diff -q <(cut -c67- "$sums" | sort) <(find "$2" -type f -printf '%P\n' | sort) >/dev/null &&
        (cd "$2" && sha256sum --check --quiet --strict "$sums") >&2
}

# needs COMMAND PACKAGE...: installs the packages if there is no such command.
needs() {
    local command=$1
    shift
    if ! command -v "$command" >/dev/null; then install_packages "$@"; fi
}

# What the script itself uses beside what every system has.
needs_tools() {
    needs python3 python3
    needs pgrep procps
}

install_packages() {
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then die "install these packages first: $*"; fi
    say "installing $*"
    {
        apt-get update -qq
        # No database server is to be made and started by its package.
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] ||
            echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get install -y -qq --no-install-recommends \
            -o Dpkg::Options::=--force-confold "$@"
    } >&2
}

# The Java that both engines run on. Cassandra 5.0 knows none newer.
JAVA_VERSION=17
# Finds it, as $java, and what it calls itself, as $java_build; nothing if there is none.
find_java() {
    local candidate version
    for candidate in "${JAVA_HOME:-/none}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*"$JAVA_VERSION"*/bin/java; do
        [ -x "$candidate" ] || continue
        version=$("$candidate" -version 2>&1 || true)
        if [[ $version == *"version \"$JAVA_VERSION."* ]]; then
            java=$candidate java_build=$(cksum <<<"$version")
            return
        fi
    done
}
# A JVM that is killed leaves no files behind but in its node's folder, in which it runs.
# shellcheck disable=SC2034 # the engines use it
jvm_home=(-Djava.io.tmpdir=tmp -XX:-UsePerfData)
needs_java() {
    [ -z "${java:-}" ] || return 0
    find_java
    if [ -z "${java:-}" ]; then
        install_packages "openjdk-$JAVA_VERSION-jre-headless"
        find_java
    fi
    [ -n "${java:-}" ] || die "there is no Java $JAVA_VERSION"
}

# The flag by which a JVM of this engine takes classes from their archive, or writes that when it ends.
class_flag() {
    if [ -n "${archiving:-}" ]; then echo "-XX:ArchiveClassesAtExit=$archiving"; else archive_flag "$1"; fi
}

# A JVM that is told of a file which holds nothing would leave out its own archive, too.
archive_flag() {
    local archive
    archive=$(class_archive "$1")
    if [ -s "$archive" ]; then echo "-XX:SharedArchiveFile=$archive"; else echo -Xshare:auto; fi
}

class_archive() { echo "$cache/$1-${java_build%% *}.jsa"; }

# archive_classes ENGINE: has a node of it run once, which writes down the classes that it loaded as the JVM has them in memory. Each
# node that is started afterwards takes a sixth to a quarter less processor time until it is ready. Where that does not work it is not tried again.
archive_classes() {
    local engine=$1 archive lock
    archive=$(class_archive "$engine")
    exec {lock}>"$cache/$engine.lock"
    flock "$lock"
    if [ ! -f "$archive" ]; then
        say "archiving the classes of $engine"
        rm -f "$cache/$engine"-*.jsa
        if write_archive "$engine" "$archive.partial" {lock}>&- >/dev/null; then
            mv "$archive.partial" "$archive"
        else
            say "$engine starts without an archive of its classes"
            : >"$archive"
        fi
    fi
    exec {lock}>&-
}

# write_archive ENGINE FILE: in a subshell, by a node in a folder of its own.
# shellcheck disable=SC2030,SC2034 # the functions of nodes and engines read these
write_archive() (
    node=$1-1 archiving=$2 nodes=1
    # The archive is written when the JVM ends, and takes its time.
    END_SECONDS_MAX=120
    dir=$(mktemp -d "${TMPDIR:-/tmp}/thalweg-archive.XXXXXX")
    trap 'if [ -f "$dir/$node/process" ]; then end "$node" KILL; await_end "$node"; fi; rm -rf "$dir"' EXIT
    trap 'exit 130' INT TERM
    rm -f "$archiving"
    "$1_prepare"
    launch "$node"
    await "$node"
    end "$node" TERM
    await_end "$node"
    [ -f "$archiving" ]
)
