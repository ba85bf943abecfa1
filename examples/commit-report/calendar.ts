// Commits by day of the week and the span of time they cover.
const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const dates = deps.history.output.split("\n").filter(Boolean).map((line: string) => line.split("\x1f")[2]);
if (dates.length === 0) throw new Error("there are no commits");
const byDay = days.map((day) => ({ day, commits: 0 }));
for (const date of dates) byDay[new Date(date).getUTCDay()].commits++;
return { first: dates[dates.length - 1].slice(0, 10), last: dates[0].slice(0, 10), total: dates.length, byDay };
