// What the pages of docs/reference/ are made of.

/** Above each page, so that nobody edits it by hand. */
export function page(title: string, made: string, intro: string, ...sections: string[]): string {
  const note = `<!-- Made from ${made} by the test of the reference; BENTO_UPDATE=1 scripts/test reference writes it anew. -->`;
  return `${[`# ${title}`, note, intro, ...sections].join("\n\n")}\n`;
}

/** A table; a cell that is empty everywhere is no column. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const columns = heads.map((_, index) => index).filter((index) => rows.some((row) => row[index]));
  const line = (cells: readonly string[]) => `| ${columns.map((index) => cells[index] ?? "").join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map((row) => line(row.map(cell)))].join("\n");
}

export function code(text: string): string {
  return text === "" ? "" : `\`${text}\``;
}

/** One line, in which nothing ends the cell. */
function cell(text: string): string {
  return text.replace(/\s+/g, " ").trim().replaceAll("|", "\\|");
}
