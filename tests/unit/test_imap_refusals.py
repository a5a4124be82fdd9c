"""Judgement of refused logins, by the texts of servers and providers; each row names its source."""

from __future__ import annotations

import pytest

from superimap.imap.refusals import Answer, Verdict, advice, judge_refusal, judge_untagged, without_names

C, U, T, M = Verdict.CREDENTIALS, Verdict.UNCLEAR, Verdict.TEMPORARY, Verdict.METHOD

QQ = (
    "Login fail. Account is abnormal, service is not open, password is incorrect, login frequency limited, "
    "or system is busy."
)
WEB = "Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)"
APP = "Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)"
TLS_ONLY = "Plaintext authentication disallowed on non-secure (SSL/TLS) connections."
SUGGESTED = "Request is throttled. Suggested Backoff Time: 92415 milliseconds"
OUTLOOK_BLOCKED = (
    "LOGIN failed. Account is blocked. Login to your account via a web browser to verify your identity."
)

# Result, code, text, verdict, and where it was seen.
TEXTS = [
    ("NO", None, "Kirjautuminen epäonnistui: virheellinen käyttäjätunnus tai salasana", C, "Finnish"),
    ("NO", None, "Palvelu on tilapäisesti pois käytöstä, yritä myöhemmin uudelleen", T, "Finnish"),
    ("NO", None, "Λάθος όνομα χρήστη ή κωδικός πρόσβασης", C, "Greek"),
    ("NO", None, "Η υπηρεσία είναι προσωρινά μη διαθέσιμη", T, "Greek"),
    ("NO", None, "Tên đăng nhập hoặc mật khẩu không đúng", C, "Vietnamese"),
    ("NO", None, "Hệ thống đang bảo trì, vui lòng thử lại sau", T, "Vietnamese"),
    ("NO", None, "Nama pengguna atau kata sandi salah", C, "Indonesian"),
    ("NO", None, "Layanan sedang dalam pemeliharaan, silakan coba lagi nanti", T, "Indonesian"),
    ("NO", None, "Přihlášení se nezdařilo", C, "Czech"),
    ("NO", None, "Služba je dočasně nedostupná", T, "Czech"),
    ("NO", None, "Logowanie nie powiodło się", C, "Polish"),
    ("NO", None, "Hibás felhasználónév vagy jelszó", C, "Hungarian"),
    ("NO", None, "Sikertelen bejelentkezés", C, "Hungarian"),
    ("NO", None, "A szolgáltatás karbantartás miatt nem elérhető", T, "Hungarian"),
    ("NO", None, "Pogrešna lozinka ili korisničko ime", C, "Croatian"),
    ("NO", None, "Prijava nije uspjela", C, "Croatian"),
    ("NO", None, "Poslužitelj je privremeno nedostupan, pokušajte kasnije", T, "Croatian"),
    ("NO", None, "שם המשתמש או הסיסמה שגויים", C, "Hebrew"),
    ("NO", None, "ההתחברות נכשלה", C, "Hebrew"),
    ("NO", None, "השירות אינו זמין זמנית, נסה שוב מאוחר יותר", T, "Hebrew"),
    ("NO", None, "اسم المستخدم أو كلمة المرور غير صحيحة", C, "Arabic"),
    ("NO", None, "فشل تسجيل الدخول", C, "Arabic"),
    ("NO", None, "الخدمة غير متاحة مؤقتا، يرجى المحاولة لاحقا", T, "Arabic"),
    ("NO", None, "ชื่อผู้ใช้หรือรหัสผ่านไม่ถูกต้อง", C, "Thai"),
    ("NO", None, "ระบบปิดปรับปรุงชั่วคราว กรุณาลองใหม่ภายหลัง", T, "Thai"),
    ("NO", None, "Connection to authentication server lost", T, "own run"),
    ("NO", None, "Login is not possible on a read-only replica", T, "own run"),
    ("NO", "AUTHENTICATIONFAILED", "Invalid credentials (Failure)", C, "Gmail: node-imap#826"),
    ("NO", "ALERT", APP, C, "Gmail: mutt-wizard#831"),
    ("NO", "ALERT", WEB, C, "Gmail: php-imap#87"),
    ("NO", "WEBALERT", "Web login required.", C, "Gmail: MailSystem.NET#17"),
    ("NO", "ALERT", "Your account is not enabled for IMAP use.", C, "Gmail"),
    ("NO", "ALERT", "Too many simultaneous connections. (Failure)", T, "Gmail: openai-cpa#66"),
    ("NO", "ALERT", "Account exceeded command or bandwidth limits. (Failure)", T, "Gmail"),
    ("NO", None, "System Error (Failure)", T, "Gmail"),
    ("NO", None, "LOGIN failed.", C, "Exchange: MailKit#483"),
    ("NO", None, "AUTHENTICATE failed.", C, "Exchange: MailKit#483"),
    ("NO", None, OUTLOOK_BLOCKED, C, "Outlook: node-imap#799"),
    ("NO", None, "Basic authentication is disabled.", C, "Outlook: uxc#445"),
    ("BAD", None, "User is authenticated but not connected.", T, "Exchange"),
    ("NO", None, SUGGESTED, T, "Exchange"),
    ("NO", "AUTHENTICATIONFAILED", "LOGIN Invalid credentials", C, "Yahoo: enough_mail#245"),
    ("NO", "AUTHENTICATIONFAILED", "AUTHENTICATE Invalid credentials", C, "Yahoo: imapflow#300"),
    ("NO", None, "Too many bad login attempts.", T, "Yahoo: MailKit#320"),
    ("NO", "LIMIT", "LOGIN Rate limit hit", T, "Yahoo: imapflow#75"),
    ("NO", "AUTHENTICATIONFAILED", "Authentication Failed", C, "iCloud: imapfilter#125"),
    ("BAD", "UNAVAILABLE", "Service temporarily unavailable", T, "iCloud: mailcore2#1642"),
    ("BAD", None, "tag LOGIN username password", M, "iCloud: Mew#220"),
    ("BAD", None, "Parse Error", M, "iCloud: imapfilter#27"),
    ("NO", None, QQ, U, "QQ: cursor-auto-free#294"),
    ("NO", None, "LOGIN Login error or password error", C, "163.com"),
    ("NO", None, "login login error password error", C, "sync-engine, test_auth_invalid"),
    ("BAD", None, "Request not ending with \\r\\n", M, "Coremail: himalaya#729"),
    ("NO", None, "authentication failed", C, "web.de: thunderbird-android#5780"),
    ("NO", "AUTHENTICATIONFAILED", "LOGIN invalid credentials or IMAP is disabled", C, "Yandex: Mailspring#2111"),
    (
        "NO", "AUTHENTICATIONFAILED", "NEOBHODIM parol prilozheniya / Application password is REQUIRED", C,
        "mail.ru: thunderbird-android#9069",
    ),
    ("NO", "ALERT", "You are yet to enable IMAP for your account. Please contact your administrator", C, "Zoho"),
    ("NO", None, "Login failed - please create an app password.", C, "Purelymail: purelymail-issues#337"),
    ("NO", None, "incorrect password or account name", C, "CommuniGate Pro: git mailing list"),
    ("NO", None, "Invalid user name or password.", C, "hMailServer, source"),
    ("NO", None, "Invalid user name. Please use full email address as user name.", C, "hMailServer, source"),
    ("NO", None, "IMAP AUTHENTICATE is not enabled.", M, "hMailServer, source"),
    ("BAD", None, "Unsupported Authenticate mechanism.", M, "hMailServer, source"),
    ("BAD", None, "Goodbye", T, "hMailServer after too many failures, source"),
    ("NO", None, "login rejected", C, "DBMail, source"),
    ("NO", None, "user email@example.com not found", C, "Proton Bridge: mutt-wizard#500"),
    ("NO", None, "LOGIN GroupWise login failed", C, "GroupWise: sync-engine"),
    ("NO", None, "Invalid", C, "sync-engine"),
    ("NO", None, "Login incorrect", C, "sync-engine"),
    ("NO", None, "LOGIN bad", C, "sync-engine"),
    ("NO", "AUTH", "authentication failed.", C, "sync-engine"),
    ("NO", "AUTHENTICATIONFAILED", "Authentication failed.", C, "Dovecot: mailinabox#2148"),
    ("NO", "UNAVAILABLE", "Temporary authentication failure. [host:2026]", T, "Dovecot"),
    ("NO", "UNAVAILABLE", "Maximum number of connections from user+IP exceeded", T, "Dovecot: node-imap#606"),
    ("NO", "PRIVACYREQUIRED", TLS_ONLY, C, "Dovecot: docker-mailserver#1026"),
    ("NO", None, "Unsupported authentication mechanism.", M, "Dovecot"),
    ("NO", None, "no mechanism available", M, "Cyrus"),
    ("NO", None, "Login failed: authentication failure", C, "Cyrus"),
    ("NO", None, "Error in IMAP command received by server.", M, "Courier"),
    ("BAD", None, "Error in IMAP command IDLE: Unknown command.", M, "Naver: imapclient#238"),
    ("BAD", None, "Invalid characters in atom", M, "Dovecot: nylas-mail#2479"),
    ("BAD", None, "Invalid literal size", M, "Dovecot: enough_mail#158"),
    ("NO", "SERVERBUG", "Internal server error", T, "go-imap#675"),
    ("NO", None, "System error", T, "Mailpile#2242"),
    ("NO", None, "Server Unavailable. 15", T, "offlineimap#682"),
    ("NO", "CANNOT", "Unknown mechanism", M, "RFC 5530"),
    ("NO", "EXPIRED", "Change your password", C, "RFC 5530"),
    ("NO", "CONTACTADMIN", "See the help desk", C, "RFC 5530"),
    ("NO", "INUSE", "Mailbox in use", T, "RFC 5530"),
    ("NO", "OVERQUOTA", "x", T, "RFC 5530"),
    ("NO", "REFERRAL", "Try another server", C, "RFC 2221"),
    ("BAD", None, "Invalid credentials", C, "own"),
    ("BAD", None, "Command unrecognized", M, "own"),
    ("NO", None, "Your account is temporarily locked", U, "own"),
    ("NO", None, "Die Anmeldung ist vorübergehend nicht möglich", T, "own"),
    ("NO", None, "Benutzername oder Passwort falsch", C, "own"),
    ("NO", None, "Service indisponible, réessayez plus tard", T, "own"),
    ("NO", None, "Mot de passe incorrect", C, "own"),
    ("NO", None, "Inténtelo de nuevo más tarde", T, "own"),
    ("NO", None, "系统繁忙，请稍后再试", T, "own"),
    ("NO", None, "用户名或密码错误", C, "own"),
    ("NO", None, "Сервис временно недоступен", T, "own"),
    ("NO", None, "Неверный пароль", C, "own"),
    ("NO", None, "", U, "RFC 9051 section 6.2.3"),
    ("BAD", None, "", M, "RFC 9051 section 6.2.3"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("result", "code", "text", "verdict", "_source"), TEXTS, ids=[row[2][:40] for row in TEXTS]
)
def test_the_refusals_of_known_servers_are_told_apart(result, code, text, verdict, _source):
    assert judge_refusal([Answer(result, code, text)]) is verdict


# The classes: what servers, and those that wrap their answers, say in other words and languages.
MORE = {
    M: [
        "Plaintext login is not supported", "LOGIN unavailable, use AUTHENTICATE", "No such mechanism",
        "Mechanism PLAIN is not enabled", "mechanism too weak", "LOGIN forbidden",
        "LOGIN is disabled. Use AUTHENTICATE", "LOGIN is disabled", "Login disabled",
        "PLAIN authentication disabled", "command disabled", "Authentication method not allowed",
        "invalid SASL argument", "mechanism not supported", "AUTH mechanism not available",
        "authentication mechanism not available", "Unsupported authentication mechanism",
        "LOGIN command not allowed", "LOGIN command has been disabled on this server",
        "AUTHENTICATE not allowed", "no mechanism available", "Login failed: no mechanism available",
        "Invalid base64", "Unknown command: LOGIN", "LOGIN not permitted", "PLAIN not supported",
        "Authentication mechanism disabled", "Unknown auth mechanism", "Missing argument to LOGIN",
        "AUTHENTICATE: protocol error", "Befehl wird nicht unterstützt", "commande inconnue",
        "不支持的认证方式", "Механизм не поддерживается", "Use AUTHENTICATE instead",
        "Command is not valid in this state", "Login method not allowed for clients",
    ],
    T: [
        "Unable to initialize session", "mail store offline", "Database is locked", "Store unavailable",
        "Too many open files", "Transport endpoint is not connected", "Servidor ocupado",
        "Внутренняя ошибка сервера", "Server upgrade in progress", "Insufficient resources",
        "Cannot access mail store", "PAM: Authentication service cannot retrieve authentication info",
        "Wewnętrzny błąd serwera", "服务暂时不可用", "Mailbox is locked by POP server", "mailbox locked",
        "imap server not responding", "Upstream error", "Remote server not available", "service not available",
        "Service is not available", "Server not responding", "Quota exceeded",
        "Exceeded the number of connections", "Your IP has been blocked", "unknown error",
        "Authentication server down", "auth service not reachable",
        "Failed to connect to authentication server", "Autologout; idle for too long", "Lookup failed 0123abc",
        "Your mailbox is over quota", "Unexpected error", "The user account is migrating",
        "Mailbox is being moved", "Account is being migrated, please wait", "Fatal error: cannot chdir",
        "out of memory", "An error occurred", "LOGIN failed: rate exceeded", "Greylisted, wait 5 minutes",
        "MAX_CONNECTIONS reached", "User has no mailbox server available",
        "User has reached the maximum allowed connections", "unable to lookup user record",
        "Connecting to backend", "Login failed: user database unreachable",
        "Authentication failed: connection to LDAP failed",
        "Authentication failed: error connecting to server", "Login failed: server too busy", "Server error",
        "Temporary authentication failure", "Authentication timeout", "Login failed: internal error",
        "Try later", "Authentication failed: maintenance", "Password database is not available",
        "Please try again", "Logins are currently disabled",
        "IP address is blocked due to too many failed logins", "Anmeldung fehlgeschlagen: Wartungsarbeiten",
        "Systemwartung", "Dienst nicht verfügbar", "Serverfehler", "Server derzeit nicht erreichbar",
        "Temporärer Fehler", "Service temporairement indisponible", "Service non disponible",
        "Serveur en maintenance", "Servicio no disponible", "En mantenimiento", "Serviço indisponível",
        "Em manutenção", "Servizio non disponibile", "Dienst niet beschikbaar", "Usługa niedostępna",
        "Služba je dočasně nedostupná", "Sunucu meşgul", "Ведутся технические работы", "Сервер недоступен",
        "サービスを利用できません", "メンテナンス中です", "服务器维护中", "系统繁忙", "登录过于频繁",
        "서버 점검 중입니다",
    ],
    U: [
        "Your account has been temporarily disabled", "Unable to log in at this time",
        "Authentication failed. Please try again.", "Login failed, please try again later.",
        "Please retry the password", "Invalid login or password. Please try again later",
        "Invalid credentials; server busy", "Nope", "ERR 4711", "Your account is blocked for 15 minutes",
        "Account locked: too many failed logins", "登录失败，请稍后重试",
        "Échec de l'authentification, veuillez réessayer plus tard",
        "Anmeldung fehlgeschlagen, versuchen Sie es später", "Неверный пароль, попробуйте позже",
        "SASL(-1): generic failure",
    ],
    C: [
        "Unknown user; login failed", "Connection from 192.0.2.1: authentication failed",
        "Please upgrade your plan to use IMAP", "IMAP is unavailable for free accounts",
        "IMAP is not available for this account", "Insufficient permissions", "Email address is blocked",
        "The network administrator has blocked your account", "Server: login failed",
        "Authentication credentials invalid", "Logon failure: unknown user name or bad password.",
        "E-Mail-Adresse oder Passwort ist falsch", "Adresse e-mail ou mot de passe invalide",
        "Nombre de usuario o contraseña incorrectos", "Usuário ou senha incorretos",
        "Nome utente o password errati", "Gebruikersnaam of wachtwoord onjuist", "Błędny login lub hasło",
        "Учетная запись отключена", "用户不存在", "認証に失敗しました", "Invalid credentials",
        "Wrong username or password", "Unknown user", "User unknown", "No such user here", "Could not log in",
        "Login refused", "Access denied", "Not authorized", "Password expired", "Failed login",
        "Your password has expired", "Account is locked", "Account suspended",
        "Your account has been disabled", "LOGIN Login error, user suspended",
        "Access to your account has been suspended", "Mailbox does not exist",
        "Email address or password is incorrect. Try resetting your password.", "Mailbox is disabled",
        "IMAP access is disabled for your domain. Please contact your domain administrator",
        "ERR.LOGIN.USERORPASSWD", "IMAP is disabled for this account", "IMAP4 Service is not allowed",
        "imap4 service is not enabled", "You are not allowed to use IMAP", "IMAP access has been turned off",
        "Login disabled for this account", "Please login via the web interface: account hibernated",
        "Web login required", "Unsafe Login. Please contact us", "Application-specific password required",
        "Please use an app password", "Two-factor authentication required",
        "Sorry, you cannot log in with your password: use OAuth", "Basic authentication is not supported",
        "Please using authorized code to login.", "Only supported over a TLS/SSL connection",
        "Login failed: Sparse", "Unlimited account: wrong password", "Invalid login: syntaxadmin",
        "Password rejected", "SASL(-13): user not found: checkpass failed", "Domain is suspended",
        "Falsches Passwort", "Passwort ungültig", "Ihr Postfach wurde gesperrt", "Zugangsdaten nicht korrekt",
        "Identifiants incorrects", "Mot de passe erroné", "Votre compte est bloqué", "Contraseña incorrecta",
        "Usuario o contraseña no válidos", "La cuenta está suspendida", "Senha inválida",
        "Credenziali non valide", "Onjuist wachtwoord", "Nieprawidłowe hasło", "Nesprávné heslo",
        "Yanlış şifre", "Неверный логин или пароль", "Аккаунт заблокирован", "Требуется пароль приложения",
        "帐号或密码错误", "账号已被锁定", "请使用授权码登录", "パスワードが違います",
        "비밀번호가 올바르지 않습니다",
    ],
}  # fmt: skip
BAD = {
    C: [
        "LOGIN failed", "AUTHENTICATE failed", "Failed login", "Invalid user or password", "password",
    ],
    M: [
        "invalid command or parameters", "Command Argument Error. 12", "command unknown or invalid LOGIN",
        "Invalid base64", "could not parse command", "expected end of data instead of",
        "Invalid SASL argument", "Request aborted", "Command received in Invalid state.",
        "parsing password failed", "LOGIN invalid login syntax",
    ],
    T: [
        "Server error", "User is authenticated but not connected.", "Internal server error",
        "Server shutting down",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("result", "texts"), [("NO", MORE), ("BAD", BAD)])
def test_refusals_are_told_apart_by_their_words(result, texts):
    wrong = [
        (text, found, verdict)
        for verdict, all_of_it in texts.items()
        for text in all_of_it
        if (found := judge_refusal([Answer(result, None, text)])) is not verdict
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "text", "verdict"),
    [
        ("UNAVAILABLE", "Invalid credentials", T),
        ("LIMIT", "Wrong password", T),
        ("TEMPFAIL", "LOGIN Temporary failure", T),  # Yahoo: node-imap#340
        ("CLIENTBUG", "Invalid argument", M),
        ("AUTHENTICATIONFAILED", "Authentication failed. Please try again.", C),
        ("AUTHENTICATIONFAILED", "(internal code 5)", C),
        ("AUTHENTICATIONFAILED", "Server busy", U),
        ("AUTHENTICATIONFAILED", "Too many connections", U),
        ("MAINTENANCE", "x", T),  # a code that no RFC has is a word like others
    ],
)
def test_a_response_code_decides_unless_the_text_contradicts_it(code, text, verdict):
    assert judge_refusal([Answer("NO", code, text)]) is verdict


@pytest.mark.parametrize(
    ("text", "user", "host", "verdict"),
    [
        ("Login failed for user internal@example.com", "internal@example.com", "imap.example.com", C),
        ("Login failed for internal", "internal@example.com", "imap.example.com", C),
        ("Login incorrect: limit@example.com", "limit@example.com", "mx", C),
        ("user ann.later@x.org: authentication failed", "other", "mx", C),
        ("Login failed: syntax@corp.com", "syntax", "mx", C),
        ("invalid login base64@x", "base64@x", "mx", C),
        ("maintenance: authentication failed", "Maintenance", "mx", C),
        ("mail.limit.example: login failed", "ann", "mail.limit.example", C),
        ("limit.example: login failed", "ann@limit.example", "mx", C),
        ("busy.example: login failed", "ann", "mail.busy.example", C),
        ("LOGIN failed", "login", "mx", C),
        ("LOGIN is disabled. Use AUTHENTICATE", "login", "mx", M),
        ("Server busy", "serv", "mx", T),
        ("try again: https://example.com/wrong-password", "ann", "mx", T),
    ],
)
def test_names_in_a_text_are_no_reasons(text, user, host, verdict):
    assert judge_refusal([Answer("NO", None, without_names(text, (user, host)))]) is verdict


@pytest.mark.parametrize(
    ("detail", "verdict"),
    [
        ('{"status":"400","schemes":"Bearer"}', C),
        ('{"status":"401"}', C),
        ('{"status":"invalid_token"}', C),
        ('{"status":"429"}', T),
        ('{"status":"503"}', T),
        ("no json", C),
        ("[" * 9000, C),
    ],
)
def test_the_json_of_an_oauth_refusal_decides_where_there_is_no_code(detail, verdict):
    assert judge_refusal([Answer("NO", None, "x")], detail) is verdict


def test_an_untagged_no_explains_a_tagged_one_without_a_code():
    tagged = Answer("NO", None, "try again later")

    assert judge_refusal([tagged, Answer("NO", "WEBALERT", "Web login required.")]) is C
    assert judge_refusal([Answer("NO", None, "failed"), Answer("NO", "UNAVAILABLE", "x")]) is T


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer("NO", "AUTHENTICATIONFAILED", "x"), C),
        (Answer("BYE", None, "Authentication failed, closing connection"), C),
        (Answer("BYE", None, "Invalid password"), C),
        (Answer("BYE", None, "Login failed, try again later"), U),
        (Answer("BYE", None, "LOGIN is disabled"), M),
        (Answer("BYE", None, "Too many login failures"), T),
        (Answer("BYE", "UNAVAILABLE", "authentication failed"), T),
        (Answer("BYE", None, "internal db error validating user"), T),
        (Answer("BYE", None, "Autologout; idle for too long"), T),
        (Answer("BYE", None, "Too many invalid IMAP commands."), T),
        (Answer("NO", "ALERT", "Mailbox is at 98% of quota"), None),
        (Answer("BYE", None, "LOGOUT received"), None),
        (Answer("BYE", None, ""), None),
    ],
)
def test_only_a_text_that_names_the_credentials_refuses_them_without_a_tagged_answer(answer, verdict):
    assert judge_untagged(answer) is verdict


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("ALERT", APP, "app password"),
        (None, "Login failed - please create an app password.", "app password"),
        ("AUTHENTICATIONFAILED", "NEOBHODIM parol prilozheniya", "app password"),
        ("ALERT", WEB, "provider's website"),
        (None, OUTLOOK_BLOCKED, "provider's website"),
        (None, "Basic authentication is disabled.", "OAuth 2.0"),
        ("ALERT", "You are yet to enable IMAP for your account.", "IMAP may be switched off"),
        ("AUTHENTICATIONFAILED", "LOGIN invalid credentials or IMAP is disabled", "IMAP may be switched off"),
        ("ALERT", "Your account is not enabled for IMAP use.", "IMAP may be switched off"),
        (None, QQ, "IMAP may be switched off"),
        ("PRIVACYREQUIRED", TLS_ONLY, "TLS"),
        ("EXPIRED", "x", "expired"),
        (None, "Your account has been suspended", "locked or disabled"),
        ("REFERRAL", "Try another server", "another server"),
        ("AUTHENTICATIONFAILED", "Invalid credentials (Failure)", ""),
    ],
)
def test_the_person_is_told_what_to_do_where_the_server_says_it(code, text, expected):
    sentence = advice([Answer("NO", code, text)])

    assert expected in sentence
    assert bool(sentence) == bool(expected)
