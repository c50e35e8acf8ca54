#!/usr/bin/env bash
# A Slurm of one node on this machine, and a grid of demo runs on workers that sbatch starts, one of which is cancelled.
#
#     apt-get install slurm-wlm munge
#     benchmarks/slurm.sh FOLDER         (as root; FOLDER gets the store, the logs and Slurm's own files)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$1" && folder=$(realpath "$1")
python=$(command -v "${PYTHON:-python}")
host=$(hostname -s) port=${PORT:-8790}
export OMP_NUM_THREADS=1 KDLIB_RUNS="$folder/runs" SLURM_CONF="$folder/slurm.conf" PYTHONPATH="$PWD"

mkdir -p "$folder"/{slurmd,slurmctld}
cat >"$SLURM_CONF" <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
StateSaveLocation=$folder/slurmctld
SlurmdSpoolDir=$folder/slurmd
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 $(slurmd -C | grep -o 'CPUs=.*RealMemory=[0-9]*')
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END

started=()
end() {
  scancel --user=root 2>/dev/null || true
  kill "${started[@]}" 2>/dev/null || true
}
trap end EXIT
if ! munge -n >/dev/null 2>&1; then
  mkdir -p /run/munge && chown munge: /run/munge
  runuser -u munge -- munged --foreground >"$folder/munged.log" 2>&1 & started+=($!)
  sleep 2
fi
slurmctld -D >/dev/null 2>&1 & started+=($!)
slurmd -D >/dev/null 2>&1 & started+=($!)
until sinfo --noheader --states=idle | grep -q .; do sleep 1; done
sinfo

"$python" -m dask scheduler --host 127.0.0.1 --port "$port" --no-dashboard >"$folder/scheduler.log" 2>&1 &
started+=($!)
workers=()
for i in 1 2; do
  workers+=("$(sbatch --parsable --cpus-per-task=1 --time=30 --output="$folder/worker-%j.log" --wrap="exec '$python' -m dask \
    worker tcp://127.0.0.1:$port --nthreads 1 --memory-limit 0 --no-dashboard --lifetime 25m \
    --local-directory '$folder/scratch'")")
done
squeue
(
  until [ "$(find "$KDLIB_RUNS" -maxdepth 1 -name 'digits-*' 2>/dev/null | wc -l)" -ge 3 ]; do sleep 0.5; done
  echo "scancel ${workers[0]}" && scancel "${workers[0]}"
) &
"$python" -m kdlib run --cluster "tcp://127.0.0.1:$port" --chapter students --set device=cpu ${ARGS:-}
squeue
