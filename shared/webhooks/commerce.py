"""Read what people order and ask about: orders, products, and the ad that led them here."""

from collections.abc import Mapping
from typing import Any

from shared.webhooks.answers import Description
from shared.webhooks.fields import find_object, find_value, parse_id, parse_text

MAX_ITEMS = 50
_MAX_TEXT = 1024
_AD_FIELDS = frozenset({"referral", "ctwaContext", "externalAdReply", "contextInfo"})


def describe_order(fields: Mapping[str, Any]) -> Description | None:
    """Return an order: its title, the number of its items, and its total."""
    order = {**fields, **find_object(fields, "order")}
    items = _list_items(find_value(order, "product_items", "products", "items"))
    count = _parse_count(find_value(order, "itemCount")) or sum(i["quantity"] for i in items)
    total = _format_price(
        find_value(order, "totalAmount1000"), find_value(order, "totalCurrencyCode")
    ) or _sum_items(items)
    title = _text(order, "orderTitle", "title")
    known = {
        "id": parse_id(find_value(order, "orderId", "order_id", "catalog_id")),
        "title": title,
        "items": items,
        "count": count,
        "total": total,
    }
    if not any(known.values()):
        return None
    number = f"{count} item{'s' if count != 1 else ''}" if count else None
    head = ", ".join(part for part in (title, number, total) if part)
    lines = [f"• {item['title']}" for item in items if "title" in item]
    text = "\n".join([f"Order: {head}" if head else "[Order]", *lines])
    return Description(text, {"order": {name: value for name, value in known.items() if value}})


def describe_product(fields: Mapping[str, Any]) -> Description | None:
    """Return a product of a catalog: its title, its price and its description."""
    product = find_object(fields, "product") or find_object(
        find_object(fields, "productMessage"), "product"
    )
    product = product or fields
    amount = find_value(product, "priceAmount1000", "salePriceAmount1000")
    known = {
        "id": parse_id(find_value(product, "productId", "productID", "product_id", "retailerId")),
        "title": _text(product, "title", "productTitle", "name"),
        "price": _format_price(amount, find_value(product, "currencyCode", "currency")),
        "description": _text(product, "description", "productDescription"),
        "url": _text(product, "url", "productUrl"),
    }
    if not (known["title"] or known["id"]):
        return None
    head = ", ".join(filter(None, (known["title"] or f"Product {known['id']}", known["price"])))
    text = "\n".join(filter(None, (head, known["description"])))
    return Description(text, {"product": {name: value for name, value in known.items() if value}})


def describe_payment(fields: Mapping[str, Any]) -> Description | None:
    """Return a payment: its amount and the note beside it."""
    amount = _format_price(
        find_value(fields, "paymentAmount1000", "amount1000"),
        find_value(fields, "paymentCurrency", "currency", "currencyCode"),
    )
    note = _text(fields, "paymentNoteMsg", "note")
    if not (amount or note):
        return None
    head = f"Payment: {amount}" if amount else "[Payment]"
    payment = {name: text for name, text in (("amount", amount), ("note", note)) if text}
    return Description("\n".join(filter(None, (head, note))), {"payment": payment})


def read_referral(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the ad that a message answers: its title, text, id and link."""
    if _AD_FIELDS.isdisjoint(fields):
        return {}
    context = find_object(fields, "contextInfo")
    ad = (
        find_object(fields, "referral")
        or find_object(fields, "ctwaContext")
        or find_object(fields, "externalAdReply")
        or find_object(context, "externalAdReply")
    )
    named = {
        "title": _text(ad, "headline", "title"),
        "text": _text(ad, "body", "description"),
        "id": _text(ad, "source_id", "sourceId", "sourceID"),
        "url": _text(ad, "source_url", "sourceUrl", "sourceURL"),
        "type": _text(ad, "source_type", "sourceType"),
        "click_id": _text(ad, "ctwa_clid", "ctwaClid"),
    }
    return {name: text for name, text in named.items() if text}


def read_referred_product(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the product of a catalog that a message asks about."""
    if "context" not in fields:
        return {}
    product = find_object(find_object(fields, "context"), "referred_product")
    named = {
        "id": _text(product, "product_retailer_id"),
        "catalog": _text(product, "catalog_id"),
    }
    return {name: text for name, text in named.items() if text}


def _list_items(value: Any) -> list[dict[str, Any]]:
    items = []
    for item in value[:MAX_ITEMS] if isinstance(value, list) else ():
        if isinstance(item, dict):
            known = {
                "id": parse_id(find_value(item, "product_retailer_id", "id", "productId")),
                "title": _text(item, "title", "name"),
                "price": parse_text(find_value(item, "item_price", "price")) or _float(item),
                "currency": _text(item, "currency"),
            }
            quantity = _parse_count(find_value(item, "quantity")) or 1
            items.append({k: v for k, v in known.items() if v} | {"quantity": quantity})
    return items


def _float(item: Mapping[str, Any]) -> str | None:
    price = find_value(item, "item_price", "price")
    return f"{price:g}" if isinstance(price, float) else None


def _sum_items(items: list[dict[str, Any]]) -> str | None:
    """Return the total of items that all have a price in the same currency."""
    currencies = {item.get("currency") for item in items}
    try:
        total = sum(float(item["price"]) * item["quantity"] for item in items)
    except (KeyError, ValueError, OverflowError):
        return None
    is_sum = len(currencies) == 1 and None not in currencies
    return f"{total:.2f} {currencies.pop()}" if is_sum else None


def _format_price(amount: Any, currency: Any) -> str | None:
    """Return a price that WhatsApp gives in thousandths."""
    try:
        value = float(amount) / 1000 if amount is not None else 0.0
    except (TypeError, ValueError, OverflowError):
        return None
    code = parse_text(currency)
    return f"{value:.2f} {code[:8]}" if code and 0 < value < 1e12 else None


def _parse_count(value: Any) -> int:
    try:
        count = int(value) if not isinstance(value, bool) else 0
    except (TypeError, ValueError, OverflowError):
        return 0
    return count if 0 < count < 1_000_000 else 0


def _text(fields: Mapping[str, Any], *names: str) -> str | None:
    text = parse_text(find_value(fields, *names))
    return text[:_MAX_TEXT] if text else None
