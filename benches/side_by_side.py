#!/usr/bin/env python3
"""raddle beside what one would use in its place, in one run on one machine: medians, and how they compare.

    cargo build --release -p raddle-cli -p raddle-testkit
    python3 benches/side_by_side.py [--bin target/release] [--reps N] [--only CASE,CASE]

Cases: code (a sandboxed code task against `deno run` without permissions: cold, warm, fifty at once, and 1.2 MB of
commits told in 500 bytes), mcp (calls per second against the official TypeScript and Python clients, stdio and HTTP),
agents (sixteen agents of one second each: as processes, warm, in one session), worktrees (against `git worktree add`).

Peers are installed once into target/bench-peers by npm and pip; what cannot be had is told as SKIPPED. The agents need
`claude` and the scripted model (RADDLE_STUBS names its folder). Sides take turns, so that a busy machine hits all alike.
Standard library only; it knows raddle by its command line and by `raddle-bench`.
"""
import argparse, json, os, re, shutil, signal, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "target/bench-peers"
NPM = {"deno": "2.9.6", "@modelcontextprotocol/sdk": "1.32.2", "@modelcontextprotocol/server-everything": "2026.8.31"}
PIP = ["mcp==2.3.0"]
CLAUDE = ("@anthropic-ai/claude-code", "2.1.329")

TS_CLIENT = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
const [calls, inFlight, tool, args, ...server] = process.argv.slice(2);
const client = new Client({ name: "bench", version: "1" });
const transport = server[0].startsWith("http") ? new StreamableHTTPClientTransport(new URL(server[0]))
  : new StdioClientTransport({ command: server[0], args: server.slice(1), stderr: "ignore" });
await client.connect(transport);
const call = () => client.callTool({ name: tool, arguments: JSON.parse(args) });
await call();
const began = performance.now();
let left = Number(calls);
await Promise.all(Array.from({ length: Number(inFlight) }, async () => { while (left-- > 0) await call(); }));
const s = (performance.now() - began) / 1e3;
console.log(JSON.stringify({ calls_per_s: Number(calls) / s }));
process.exit(0);
"""
PY_CLIENT = """
import asyncio, json, os, sys, time
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
calls, in_flight, tool, args, server = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]), sys.argv[5:]

async def measure(call):
    await call()
    began, left = time.perf_counter(), calls
    async def worker():
        nonlocal left
        while left > 0:
            left -= 1
            await call()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    print(json.dumps({"calls_per_s": calls / (time.perf_counter() - began)}), flush=True)
    os._exit(0)

async def main():
    if server[0].startswith("http"):
        from mcp import Client
        async with Client(server[0]) as client:
            await measure(lambda: client.call_tool(tool, args))
    async with stdio_client(StdioServerParameters(command=server[0], args=server[1:]), errlog=open(os.devnull, "w")) as (r, w):
        async with ClientSession(r, w) as session:
            await session.initialize()
            await measure(lambda: session.call_tool(tool, args))

asyncio.run(main())
"""
TINY = "input.length"
SUMMARY = """
(() => {
  const by = {};
  for (const line of input.split("\\n")) {
    const [, author, subject] = line.split("\\t");
    if (author) (by[author] ??= []).push(subject.split(":")[0]);
  }
  const told = Object.entries(by).sort((a, b) => b[1].length - a[1].length)
    .map(([name, subjects]) => name + ": " + subjects.length + " in " + new Set(subjects).size + " areas");
  return told.join("\\n").slice(0, 500);
})()
"""


def timed(argv, **kw):
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, **kw)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-400:]}")
    return time.perf_counter() - began, done.stdout


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def table(title, sides, reps, unit="ms", more_is_better=False):
    """Runs the sides in turn and prints their medians; ratios are of the first side, above 1 where it is better."""
    took = {name: [] for name in sides}
    for _ in range(reps):
        for name, run in sides.items():
            took[name].append(run())
    print(f"\n{title}  [{reps} in turn]")
    own = statistics.median(next(iter(took.values())))
    for name, values in took.items():
        median = statistics.median(values)
        ratio = (own / median if more_is_better else median / own) if own and median else 0
        print(f"  {name:44} {median:12.2f} {unit:8} [{min(values):.2f} .. {max(values):.2f}]   x{ratio:.2f}", flush=True)
    return took


def npm():
    folder = PEERS / "npm"
    def there(name, version):
        try:
            return json.loads((folder / "node_modules" / name / "package.json").read_text())["version"] == version
        except OSError:
            return False
    if not all(there(*package) for package in NPM.items()):
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [f"{name}@{version}" for name, version in NPM.items()]
        timed(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder), *wanted])
    (folder / "client.mjs").write_text(TS_CLIENT)
    return folder


def pip():
    folder = PEERS / "python"
    if subprocess.run([folder / "bin/python", "-c", "import mcp"], capture_output=True).returncode if (folder / "bin/python").exists() else True:
        timed([sys.executable, "-m", "venv", str(folder)])
        timed([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PIP])
    (folder / "client.py").write_text(PY_CLIENT)
    return folder


def claude():
    known = [profile / "real-partners/node" for profile in (ROOT / "target").glob("*")] + [PEERS / "claude"]
    for folder in known:
        if (folder / "node_modules/.bin/claude").exists():
            return folder / "node_modules/.bin"
    name, version = CLAUDE
    timed(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(PEERS / "claude"), f"{name}@{version}"])
    return PEERS / "claude/node_modules/.bin"


class Bench:
    def __init__(self, bins, reps, work):
        self.raddle, self.bench = str(bins / "raddle"), str(bins / "raddle-bench")
        self.reps, self.work = reps, work

    def own(self, *words):
        return timed([self.bench, *map(str, words)])

    # -- code -------------------------------------------------------------------------------------------------------
    def code(self):
        deno = str(npm() / "node_modules/.bin/deno")
        files = {}
        for name, script in (("tiny", TINY), ("summary", SUMMARY)):
            files[name] = self.work / f"{name}.js"
            files[name].write_text(script)
            body = script.strip()
            (self.work / f"{name}.deno.js").write_text(
                f"const input = await new Response(Deno.stdin.readable).text();\nconsole.log({body});\n")
        small, commits = self.work / "small", self.work / "commits"
        small.write_text("x")
        lines = (f"{n:040x}\tauthor {n % 17}\tarea{n % 29}: what number {n} changes for the reader of it" for n in range(12_500))
        commits.write_text("\n".join(lines)[: 1_200_000])
        env = {**os.environ, "DENO_NO_UPDATE_CHECK": "1", "DENO_DIR": str(self.work / "deno")}

        def of_deno(name, given):
            with open(given) as text:
                took, said = timed([deno, "run", "--no-prompt", "--quiet", str(self.work / f"{name}.deno.js")], stdin=text, env=env)
            if name == "summary":
                assert 50 < len(said.strip()) <= 500, said
            return took * 1e3

        def warm(name, given, calls):
            return last_json(self.own("sandbox-warm", files[name], given, calls)[1])["ms_per_call"]

        def fifty():
            began = time.perf_counter()
            command = [deno, "run", "--no-prompt", "--quiet", str(self.work / "tiny.deno.js")]
            children = [subprocess.Popen(command, stdin=open(small), stdout=subprocess.DEVNULL, env=env) for _ in range(50)]
            assert all(child.wait() == 0 for child in children)
            return (time.perf_counter() - began) * 1e3

        of_deno("tiny", small), of_deno("summary", commits)
        table("code task, cold: everything from the start of a process", {
            "raddle: engine, worker, task": lambda: self.own("sandbox", files["tiny"], small)[0] * 1e3,
            "deno run, no permissions": lambda: of_deno("tiny", small)}, self.reps)
        table("code task, warm: a fresh interpreter in a running worker", {
            "raddle": lambda: warm("tiny", small, 300),
            "deno run, no permissions": lambda: of_deno("tiny", small)}, self.reps)
        table("fifty code tasks at once", {
            "raddle": lambda: last_json(self.own("sandbox-crowd", files["tiny"], small, 50)[1])["ms"],
            "deno run, no permissions": fifty}, self.reps)
        table("1.2 MB of commits told in 500 bytes", {
            "raddle, cold": lambda: self.own("sandbox", files["summary"], commits)[0] * 1e3,
            "raddle, warm": lambda: warm("summary", commits, 20),
            "deno run, no permissions": lambda: of_deno("summary", commits)}, self.reps)

    # -- MCP --------------------------------------------------------------------------------------------------------
    def mcp(self):
        node, python = npm(), pip()
        server = [shutil.which("node"), str(node / "node_modules/@modelcontextprotocol/server-everything/dist/index.js")]
        words = ["echo", json.dumps({"message": "hello"})]
        for in_flight, calls in ((1, 500), (16, 1500)):
            for how, reached in (("stdio", [*server, "stdio"]), ("HTTP", None)):
                child = None
                if reached is None:
                    port = 20_000 + os.getpid() % 20_000
                    child = subprocess.Popen([*server, "streamableHttp"], env={**os.environ, "PORT": str(port)},
                                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    reached = [f"http://127.0.0.1:{port}/mcp"]
                    self.listens(port)
                given = [str(calls), str(in_flight), *words, *reached]
                try:
                    table(f"MCP over {how}, {in_flight} in flight, the same server", {
                        "raddle": lambda: last_json(self.own("mcp", *given)[1])["calls_per_s"],
                        "TypeScript client": lambda: last_json(timed(["node", "client.mjs", *given], cwd=node)[1])["calls_per_s"],
                        "Python client": lambda: last_json(timed([str(python / "bin/python"), "client.py", *given], cwd=python)[1])["calls_per_s"],
                    }, max(3, self.reps // 3), unit="calls/s", more_is_better=True)
                finally:
                    if child:
                        child.kill()
                        child.wait()

    @staticmethod
    def listens(port):
        import socket
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the HTTP server does not listen")

    # -- agents -----------------------------------------------------------------------------------------------------
    def agents(self):
        stubs = Path(os.environ.get("RADDLE_STUBS", ROOT.parent / "shared/stubs"))
        if not (stubs / "stub_anthropic.py").is_file():
            raise RuntimeError(f"there is no scripted model at {stubs} (RADDLE_STUBS names its folder)")
        bin_folder, place = claude(), self.work / "agents"
        (place / "home").mkdir(parents=True)
        rules = place / "rules.json"
        rules.write_text(json.dumps([{"when": {"first": "ONE-SECOND"}, "reply": [{"text": "done"}], "delay_ms": 1000}]))
        model = place / "model.py"
        model.write_text((ROOT / "crates/cli/tests/real/handing_on.py").read_text())
        child = subprocess.Popen([sys.executable, str(model), "--script", str(rules), "--port-file", str(place / "port")],
                                 env={**os.environ, "PYTHONPATH": str(stubs), "PYTHONDONTWRITEBYTECODE": "1"},
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (place / "port").exists():
                time.sleep(0.05)
            url = f"http://127.0.0.1:{(place / 'port').read_text()}"
            env = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(place / "home"), "ANTHROPIC_BASE_URL": url,
                   "ANTHROPIC_API_KEY": "not-a-key", "RADDLE_HOME": str(place / "state")}

            def sixteen(name, defaults):
                tasks = [{"id": f"t{n}", "prompt": f"ONE-SECOND {n}"} for n in range(16)]
                flow = place / f"{name}.yaml"
                flow.write_text(json.dumps({"defaults": {"timeout": "100s", "retry": {"max": 0}, **defaults}, "tasks": tasks}))
                return lambda: timed([self.raddle, "run", str(flow), "--quiet", "--max-parallel", "16"], env=env, cwd=place)[0]

            table("sixteen agents of one second each", {
                "processes": sixteen("processes", {}),
                "warm workers (isolation: context)": sixteen("warm", {"isolation": "context"}),
                "in one session (executor: task_tool)": sixteen("session", {"executor": "task_tool"}),
            }, max(1, self.reps // 5), unit="s")
        finally:
            child.kill()
            child.wait()

    # -- worktrees --------------------------------------------------------------------------------------------------
    def worktrees(self):
        place, count = self.work / "repository", 10
        place.mkdir()
        git = lambda *words: timed(["git", "-c", "user.name=b", "-c", "user.email=b@localhost", *words], cwd=place)
        git("init", "-q", "-b", "main")
        for n in range(500):
            file = place / f"d{n % 20}/f{n}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{n}\n" * 40)
        git("add", "."), git("commit", "-q", "-m", "start")
        flow = self.work / "trees.yaml"
        env = {**os.environ, "RADDLE_HOME": str(self.work / "state"), "HOME": str(self.work)}

        def run(executor):
            tasks = [{"id": f"t{n}", "run": ["true"], **({"executor": "worktree"} if executor else {})} for n in range(count)]
            flow.write_text(json.dumps({"tasks": tasks}))
            return timed([self.raddle, "run", str(flow), "--quiet", "--max-parallel", "1"], env=env, cwd=place)[0]

        rounds = iter(range(10_000))

        def plain():
            n, began = next(rounds), time.perf_counter()
            for i in range(count):
                git("worktree", "add", "-q", "-b", f"plain-{n}-{i}", str(self.work / f"wt-{n}-{i}"))
                git("worktree", "remove", "--force", str(self.work / f"wt-{n}-{i}"))
            return (time.perf_counter() - began) / count * 1e3

        table("a work tree of 500 files, made and removed, one after the other", {
            "raddle: the task with it, less the same without": lambda: (run(True) - run(False)) / count * 1e3,
            "git worktree add, git worktree remove": plain}, max(3, self.reps // 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release")
    parser.add_argument("--reps", type=int, default=15)
    parser.add_argument("--only", default="code,mcp,agents,worktrees")
    args = parser.parse_args()
    bins = args.bin.resolve()
    for name in ("raddle", "raddle-bench"):
        if not (bins / name).is_file():
            sys.exit(f"no {bins / name}: cargo build --release -p raddle-cli -p raddle-testkit")
    print(f"{bins}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    failed = False
    with tempfile.TemporaryDirectory(prefix="raddle-side-") as work:
        bench = Bench(bins, args.reps, Path(work))
        for case in args.only.split(","):
            try:
                getattr(bench, case)()
            except (RuntimeError, OSError) as why:
                failed = True
                print(f"\nSKIPPED: {case}: {why}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
