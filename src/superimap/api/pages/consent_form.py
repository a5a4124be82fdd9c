"""The page before a provider's consent page: who asks, for whom, and where the person signs in."""

from fastapi import Response

from superimap.api.pages import browser, texts
from superimap.api.pages.opened_link import OpenedLink, Visitor
from superimap.api.pages.render import render_page


def consent_form(visitor: Visitor, link: OpenedLink, browser_id: str) -> Response:
    """Render the page. Its button leads to the provider, which may send people on to their organisation's sign-in.

    The person types nothing here, so a form that leads to any site can disclose nothing.
    """
    user, partner, _, provider = link.linked_user
    return render_page(
        "consent.html",
        prefix=visitor.prefix,
        returns_to=(provider.oauth2_authorize_url, link.success_url, link.failure_url),
        leads_anywhere=True,
        partner=partner.name,
        tag=user.tag,
        email=user.email,
        sign_in_email=user.sign_in_email,
        provider=texts.provider_name(provider.title),
        fields=link.fields,
        token=browser.form_token(visitor.resources.link_keys[0], browser_id, link.sig),
    )
