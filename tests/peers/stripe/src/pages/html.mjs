// Small pages without script.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export const escape = (value) => String(value ?? '').replace(/[&<>"']/g, (sign) => ESCAPES[sign]);

export const money = (amount, currency = 'usd') => `${(amount / 100).toFixed(2)} ${currency.toUpperCase()}`;

export const day = (at) => (at ? new Date(at * 1000).toISOString().slice(0, 10) : '');

export const page = (title, body, problem) => `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escape(title)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}label{display:block;margin:.6rem 0}
input{font:inherit;width:100%;box-sizing:border-box;padding:.3rem}button{font:inherit;padding:.4rem .9rem;margin:.3rem .3rem .3rem 0}
[role=alert]{color:#a00}table{border-collapse:collapse;width:100%}td{padding:.2rem .4rem;border-bottom:1px solid #ddd}small{color:#555}</style>
<h1 style="font-size:1.3rem">${escape(title)}</h1>${problem ? `<p role="alert">${escape(problem)}</p>` : ''}
${body}
<p><small>The local Stripe: no money moves. Cards: 4242 4242 4242 4242 succeeds, 4000 0000 0000 0002 is declined,
4000 0000 0000 0341 is taken now and declined later.</small></p></html>`;
