// The hosted page of an invoice.

import { payNow } from '../billing/collection.mjs';
import { StripeError } from '../wire/errors.mjs';
import { day, escape, money, page } from './html.mjs';

export function show(account, invoice, problem) {
  const rows = invoice.lines.data.map((line) => `<tr><td>${escape(line.description)}</td><td>${day(line.period.start)} to ${day(line.period.end)}</td><td>${money(line.amount, line.currency)}</td></tr>`);
  const pay = invoice.status === 'open' ? '<form method="post"><button>Pay</button></form>' : '';
  const html = page(`Invoice ${invoice.number}`, `<table>${rows.join('')}</table><p>Total ${money(invoice.total, invoice.currency)}, due ${money(invoice.amount_remaining, invoice.currency)}: ${escape(invoice.status)}</p>${pay}`, problem);
  return { status: problem ? 402 : 200, html };
}

export function submit(account, invoice) {
  try {
    payNow(account, invoice);
    return { status: 303, location: invoice.hosted_invoice_url };
  } catch (error) {
    if (!(error instanceof StripeError)) throw error;
    return show(account, invoice, error.message);
  }
}

/** One page of text, as a PDF: enough for a reader to open. */
export function pdf(invoice) {
  const text = [`Invoice ${invoice.number}`, ...invoice.lines.data.map((line) => `${line.description}: ${money(line.amount, line.currency)}`), `Total: ${money(invoice.total, invoice.currency)}`];
  const drawn = text.map((line) => `(${line.replace(/[^\x20-\x7e]/g, 'x').replace(/[\\()]/g, '\\$&')}) Tj T*`).join('\n');
  const stream = `BT /F1 12 Tf 16 TL 50 780 Td\n${drawn}\nET`;
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>',
    `<< /Length ${stream.length} >>\nstream\n${stream}\nendstream`,
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
  ];
  let document = '%PDF-1.4\n';
  const offsets = objects.map((object, index) => {
    const at = document.length;
    document += `${index + 1} 0 obj\n${object}\nendobj\n`;
    return at;
  });
  const start = document.length;
  const table = offsets.map((at) => `${String(at).padStart(10, '0')} 00000 n \n`).join('');
  return Buffer.from(`${document}xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${table}trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`, 'latin1');
}
