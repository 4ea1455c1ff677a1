"""Orders, products and ads are shown with their structure beside them."""

from typing import Any

import pytest

from shared.webhooks.commerce import (
    describe_order,
    describe_payment,
    describe_product,
    read_referral,
    read_referred_product,
)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {
                "orderId": "1",
                "orderTitle": "Books",
                "itemCount": 2,
                "totalAmount1000": 1500000,
                "totalCurrencyCode": "RUB",
            },
            "Order: Books, 2 items, 1500.00 RUB",
        ),
        ({"orderId": "1", "itemCount": 1}, "Order: 1 item"),
        ({"orderId": "1"}, "[Order]"),
        (
            {
                "order": {
                    "catalog_id": "c",
                    "product_items": [
                        {
                            "product_retailer_id": "p1",
                            "quantity": 2,
                            "item_price": 10,
                            "currency": "EUR",
                        },
                        {"product_retailer_id": "p2", "item_price": "2.5", "currency": "EUR"},
                    ],
                }
            },
            "Order: 3 items, 22.50 EUR",
        ),
        ({"orderId": "1", "products": [{"name": "Atlas"}]}, "Order: 1 item\n• Atlas"),
        ({"orderId": "1", "itemCount": "many", "totalAmount1000": {}}, "[Order]"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_order_is_read(fields: dict[str, Any], text: str) -> None:
    found = describe_order(fields)
    assert found
    assert found.text == text
    assert found.metadata["order"]["id"]


def test_a_product_is_read() -> None:
    product = {
        "productId": "p1",
        "title": "Atlas",
        "description": "of the world",
        "currencyCode": "RUB",
        "priceAmount1000": "990000",
    }
    for fields in (product, {"product": product}, {"productMessage": {"product": product}}):
        found = describe_product(fields)
        assert found
        assert found.text == "Atlas, 990.00 RUB\nof the world"
        assert found.metadata["product"]["id"] == "p1"
    assert describe_product({"product": {}}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"referral": {"headline": "Sale", "source_id": "7", "source_url": "https://fb.example/7"}},
        {"ctwaContext": {"title": "Sale", "sourceId": "7", "sourceUrl": "https://fb.example/7"}},
        {
            "contextInfo": {
                "externalAdReply": {
                    "title": "Sale",
                    "sourceId": "7",
                    "sourceUrl": "https://fb.example/7",
                }
            }
        },
    ],
)
def test_the_ad_that_a_message_answers_is_read(fields: dict[str, Any]) -> None:
    assert read_referral(fields) == {"title": "Sale", "id": "7", "url": "https://fb.example/7"}


def test_the_product_that_a_message_asks_about_is_read() -> None:
    context = {"referred_product": {"catalog_id": "c", "product_retailer_id": "p1"}}
    assert read_referred_product({"context": context}) == {"id": "p1", "catalog": "c"}
    assert read_referred_product({}) == {}


def test_a_payment_is_its_amount_and_its_note() -> None:
    found = describe_payment(
        {"paymentAmount1000": 1500, "paymentCurrency": "INR", "paymentNoteMsg": "for lunch"}
    )
    assert found == (
        "Payment: 1.50 INR\nfor lunch",
        {"payment": {"amount": "1.50 INR", "note": "for lunch"}},
    )
    assert describe_payment({}) is None
