"""A Slurm of its own on loopback: munge, slurmctld and several slurmd that each are a node of one CPU.

Everything lies in one folder, on free ports, under the user who calls; nothing of an installed cluster is touched.
Tried with Debian 12's slurm-wlm (22.05), whose slurmd takes several names on one machine (-N).
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

CONFIGURATION = """ClusterName=doublep
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdTimeout=6
MessageTimeout=5
KillWait=2
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
GresTypes=gpu
NodeName=n[1-{nodes}] NodeHostname=localhost NodeAddr=127.0.0.1 Port={node_ports} CPUs=1 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def absent():
    """What of Slurm and munge this machine lacks, in words; "" where all is there."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    return f"no {', '.join(lacking)} here: apt-get install slurm-wlm munge" if lacking else ""


def free_ports(count):
    """So many TCP ports that nobody listens on; held open together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until(condition, seconds, what):
    """Polls; what the condition returned when it first held."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


def processes_on(node, folder):
    """What Slurm runs on a node of this cluster, and the slurmstepd that watch it: two sets of process ids."""
    tasks, watchers = set(), set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                words = file.read().split(b"\0")
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            if f"SLURMD_NODENAME={node}".encode() in words and f"SLURM_CONF={folder}/slurm.conf".encode() in words:
                tasks.add(int(pid))
                with open(f"/proc/{parent}/comm", encoding="ascii") as file:
                    if file.read().startswith("slurmstepd"):
                        watchers.add(parent)
        except (OSError, ValueError):
            continue  # it has ended, or is another user's
    return tasks, watchers


def kill(pids, number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Cluster:
    def __init__(self, folder, nodes=3):
        self.folder, self.nodes = folder, [f"n{i + 1}" for i in range(nodes)]
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": f"{folder}/slurm.conf"}
        ports = free_ports(1 + nodes)
        os.makedirs(f"{folder}/state")
        for node in self.nodes:
            os.makedirs(f"{folder}/{node}")
        text = CONFIGURATION.format(
            ports=ports, folder=folder, user=getpass.getuser(), nodes=nodes, node_ports=",".join(map(str, ports[1:]))
        )
        with open(f"{folder}/slurm.conf", "w", encoding="utf-8") as file:
            file.write(text)
        with open(f"{folder}/gres.conf", "w", encoding="utf-8") as file:
            file.write(f"NodeName=n[1-{nodes}] Name=gpu File=/dev/null\n")
        with open(os.open(f"{folder}/munge.key", os.O_CREAT | os.O_WRONLY, 0o400), "wb") as file:
            file.write(os.urandom(1024))

    def __enter__(self):
        try:
            named = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            self.call("munged", "--force", *(f"--{option}={self.folder}/munge.{end}" for option, end in named.items()))
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self.wait_for_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            self.kill_node(node)
        kill(self._pids("slurmctld.pid", "munge.pid"))

    def call(self, *words):
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start_controller(self):
        self.call("slurmctld")

    def stop_controller(self):
        """In order: killed, it forgets the jobs of the last seconds, and what becomes of them is Slurm's affair."""
        for pid in self._pids("slurmctld.pid"):
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 30, "slurmctld ends")

    def start_node(self, node):
        self.call("slurmd", "-N", node)

    def wait_for_nodes(self):
        idle = "\n".join(f"{node} idle" for node in self.nodes)
        states = ("sinfo", "--noheader", "--Node", "--format=%N %T")
        wait_until(lambda: self.call(*states).strip() == idle, 60, "every node is idle")

    def kill_daemon(self, node):
        """The node is out of reach, and its tasks go on."""
        kill(self._pids(f"{node}.pid"))

    def tasks_on(self, node):
        return processes_on(node, self.folder)[0]

    def kill_node(self, node):
        """As if its power had failed."""
        self.kill_daemon(node)
        for pids in processes_on(node, self.folder):
            kill(pids)

    def _pids(self, *names):
        for name in names:
            try:
                with open(f"{self.folder}/{name}", encoding="ascii") as file:
                    yield int(file.read())
            except (OSError, ValueError):
                continue  # it never started

    def node_of(self, task):
        """Where an array's task runs; "" where it does not."""
        lines = self.call("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%K %N").splitlines()
        return next((node for index, node in map(str.split, lines) if index == str(task)), "")
