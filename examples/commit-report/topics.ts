// Commits by area, where subjects begin with one ("kernel: …"). A history without such subjects has no topics.
const subjects = deps.history.output.split("\n").filter(Boolean).map((line: string) => line.split("\x1f")[3] ?? "");
const counts: Record<string, number> = {};
for (const subject of subjects) {
  const area = /^([\w ,.-]{1,40}):\s/.exec(subject)?.[1];
  if (area) counts[area] = (counts[area] ?? 0) + 1;
}
if (Object.keys(counts).length === 0) throw new Error("no subject has the form `area: what changes`");
return Object.entries(counts).map(([area, commits]) => ({ area, commits })).sort((a, b) => b.commits - a.commits).slice(0, 10);
