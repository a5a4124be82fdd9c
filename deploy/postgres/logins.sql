-- Login roles of the services and of operators, each a member of the group role of its process. Run it after `superimap migrate
-- --roles`, as often as you like; it also changes the passwords. Compose runs it by itself. By hand:
--   psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -v api_password=… -v idler_password=… -v dispatcher_password=… \
--     -v operator_password=… -f logins.sql
-- Needs CREATEROLE, and the option ADMIN of the groups, which their creator has. A superuser is not needed.
SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['superimap_api_login', 'superimap_idler_login', 'superimap_dispatcher_login',
                  'superimap_operator_login']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE superimap_api_login PASSWORD :'api_password';
ALTER ROLE superimap_idler_login PASSWORD :'idler_password';
ALTER ROLE superimap_dispatcher_login PASSWORD :'dispatcher_password';
ALTER ROLE superimap_operator_login PASSWORD :'operator_password';

GRANT superimap_api TO superimap_api_login;
GRANT superimap_idler TO superimap_idler_login;
GRANT superimap_dispatcher TO superimap_dispatcher_login;
GRANT superimap_operator TO superimap_operator_login;
