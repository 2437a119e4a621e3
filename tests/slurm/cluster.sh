#!/bin/sh
# A Slurm of one machine, for tests: munge, accounting (slurmdbd over MariaDB), controller and one node of four slots,
# whatever the machine has. Nothing is installed and nothing outside the folder is written.
#
#   cluster.sh start FOLDER    as root; needs Debian's slurm-wlm, slurmdbd, mariadb-server and munge
#   cluster.sh stop FOLDER
#
# Commands find it by SLURM_CONF=FOLDER/slurm.conf. Partition "low" gives way to "high": its jobs go back into the queue.
set -eu

verb=${1:-}
folder=$(mkdir -p "${2:?the folder is missing}" && cd "$2" && pwd)
export SLURM_CONF="$folder/slurm.conf"
base=${LANDSHIFT_SLURM_PORT:-16817} # of four ports in a row

stop() {
    for name in slurmd slurmctld slurmdbd mariadbd munged; do
        file="$folder/$name.pid"
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    done
}

# Wait for something to be true, or say whose log to read.
await() {
    name=$1
    shift
    for _ in $(seq 60); do timeout 5 "$@" >/dev/null 2>&1 && return; sleep 0.5; done
    echo "$name did not start; see $folder/$name.log" >&2
    exit 1
}

start() {
    [ "$(id -u)" = 0 ] || { echo "only root can start it" >&2; exit 1; }
    for program in munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd; do
        command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
    done
    host=$(hostname -s)
    chmod 755 "$folder"
    mkdir -p "$folder/state" "$folder/spool"

    dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 2>/dev/null
    chmod 400 "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"

    mariadb-install-db --no-defaults --user=root --datadir="$folder/mariadb" --skip-test-db >"$folder/install.log" 2>&1
    mariadbd --no-defaults --user=root --datadir="$folder/mariadb" --socket="$folder/mariadb.socket" \
        --pid-file="$folder/mariadbd.pid" --port="$((base + 3))" --bind-address=127.0.0.1 --skip-name-resolve \
        --innodb-buffer-pool-size=32M >"$folder/mariadbd.log" 2>&1 </dev/null &
    await mariadbd mariadb-admin --no-defaults --socket="$folder/mariadb.socket" ping
    mariadb --no-defaults --socket="$folder/mariadb.socket" -e "CREATE DATABASE slurm_acct_db;
        CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';"

    cat >"$folder/slurmdbd.conf" <<END
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
DbdHost=localhost
DbdPort=$((base + 2))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((base + 3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.pid
END
    chmod 600 "$folder/slurmdbd.conf"

    # config_overrides: the node has as many slots as are written here. cred_expire: a job that was put back into the queue
    # waits that long before it may start again.
    cat >"$folder/slurm.conf" <<END
ClusterName=landshift
SlurmctldHost=$host
SlurmUser=root
SlurmctldPort=$base
SlurmdPort=$((base + 1))
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=5,bf_interval=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$((base + 2))
AccountingStoragePass=$folder/munge.socket
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=$host MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
END
    (cd "$folder" && slurmdbd) # it finds its file beside that of SLURM_CONF
    await slurmdbd sacctmgr --noheader list cluster
    sacctmgr --immediate add cluster landshift >/dev/null 2>&1 || true
    slurmctld -f "$SLURM_CONF"
    await slurmctld scontrol ping
    slurmd -f "$SLURM_CONF"
    await slurmd sh -c "sinfo --noheader --format=%T | grep -qx idle"
}

case $verb in
start) start ;;
stop) stop ;;
*) echo "usage: cluster.sh start|stop FOLDER" >&2; exit 2 ;;
esac
