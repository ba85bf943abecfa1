// Commits by author, most first.
const lines: string[] = deps.history.output.split("\n").filter((line: string) => line);
const counts = new Map<string, number>();
for (const line of lines) {
  const author = line.split("\x1f")[1];
  counts.set(author, (counts.get(author) ?? 0) + 1);
}
return [...counts].map(([name, commits]) => ({ name, commits })).sort((a, b) => b.commits - a.commits).slice(0, 10);
