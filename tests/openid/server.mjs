// An OpenID provider that is not ours: oidc-provider, with people who consent at once. Its argument is a JSON file.
//
// The library itself judges requests, PKCE, clients, codes, refresh tokens and revocations. Ours are the pages, which
// sign in whoever `as` names, and the grant type jwt-bearer (RFC 7523 section 2.1), which the library does not have:
// it verifies the assertion with jose, and issues a token of the library.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [file, packages] = process.argv.slice(2);
const { port, clients, people, organisation } = JSON.parse(readFileSync(file, 'utf8'));
const installed = createRequire(`${packages}/`);
const { default: Provider, errors } = await import(pathToFileURL(installed.resolve('oidc-provider')));
const { createLocalJWKSet, decodeJwt, jwtVerify } = await import(pathToFileURL(installed.resolve('jose')));

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const issuer = `http://127.0.0.1:${port}`;
const as = { account: people[0] };

const provider = new Provider(issuer, {
  clients,
  scopes: ['openid', 'email', 'offline_access', 'mail'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  cookies: { keys: ['a key for tests'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: { AccessToken: 3600, ClientCredentials: 3600, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600 },
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: id, email_verified: true }),
  }),
});

// The assertion names the client, which is all that RFC 7521 section 4.1 wants; the library wants `client_id`.
provider.use(async (ctx, next) => {
  if (ctx.path === '/token' && ctx.method === 'POST') {
    const parts = [];
    for await (const part of ctx.req) parts.push(part);
    const form = new URLSearchParams(Buffer.concat(parts).toString());
    if (form.get('grant_type') === JWT_BEARER && !form.has('client_id')) {
      try { form.set('client_id', decodeJwt(form.get('assertion')).iss); } catch { /* refused below */ }
    }
    ctx.request.body = Object.fromEntries(form);
  }
  await next();
});

// Signs in the account that `as` names, and consents to all that was asked for.
provider.use(async (ctx, next) => {
  if (ctx.path === '/as' && ctx.method === 'POST') {
    as.account = ctx.query.account;
    ctx.status = 204;
    return;
  }
  if (!ctx.path.startsWith('/interaction/')) {
    await next();
    return;
  }
  const { prompt, params } = await provider.interactionDetails(ctx.req, ctx.res);
  const result = {};
  if (prompt.name === 'login') result.login = { accountId: as.account };
  if (prompt.name === 'consent') {
    const grant = new provider.Grant({ accountId: as.account, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    result.consent = { grantId: await grant.save() };
  }
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission: false }));
});

provider.registerGrantType(JWT_BEARER, async (ctx) => {
  const { client, params } = ctx.oidc;
  let claims;
  try {
    const keys = createLocalJWKSet(client.jwks);
    const options = { issuer: client.clientId, audience: `${issuer}/token`, maxTokenAge: '10m', requiredClaims: ['exp', 'sub'] };
    claims = (await jwtVerify(params.assertion, keys, options)).payload;
  } catch (error) {
    throw new errors.InvalidGrant(`the assertion is not valid: ${error.code}`);
  }
  if (!organisation.includes(claims.sub)) throw new errors.UnauthorizedClient('no account of the organisation');
  const grant = new provider.Grant({ accountId: claims.sub, clientId: client.clientId });
  grant.addOIDCScope(claims.scope);
  const token = new provider.AccessToken({
    accountId: claims.sub, client, grantId: await grant.save(), gty: 'jwt_bearer', scope: claims.scope,
  });
  ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: 'Bearer', scope: claims.scope };
}, ['assertion', 'scope']);

for (const event of ['server_error', 'authorization.error', 'grant.error', 'userinfo.error', 'revocation.error']) {
  provider.on(event, (_ctx, error) => console.error(event, error.message, error.error_detail ?? error.stack));
}
provider.listen(port, '127.0.0.1', () => console.log('ready'));
