// The report from whatever succeeded; a look that failed is named instead.
const bar = (n: number, most: number) => "█".repeat(Math.max(1, Math.round((n / most) * 24)));
const chart = (rows: [string, number][]) => {
  const most = Math.max(...rows.map((row) => row[1]), 1);
  const width = Math.max(...rows.map((row) => row[0].length), 1);
  return ["```", ...rows.map(([name, n]) => `${name.padEnd(width)}  ${n ? bar(n, most) : ""} ${n}`), "```"].join("\n");
};
const section = (title: string, look: any, draw: (value: any) => string) =>
  `## ${title}\n\n` + (look.status === "success" ? draw(look.output) : `_Not available: ${look.error.split("\n")[0]}_`);

const { authors, calendar, topics } = deps;
const span = calendar.status === "success"
  ? `${calendar.output.total} commits from ${calendar.output.first} to ${calendar.output.last}`
  : "an unknown number of commits";
const markdown = [
  "# Commit report",
  span + ".",
  section("By author", authors, (rows) => chart(rows.map((r: any) => [r.name, r.commits]))),
  section("By day of the week", calendar, (c) => chart(c.byDay.map((d: any) => [d.day, d.commits]))),
  section("By area", topics, (rows) => chart(rows.map((r: any) => [r.area, r.commits]))),
].join("\n\n") + "\n";
return { summary: span, markdown };
