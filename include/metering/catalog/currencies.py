"""Currencies that prices can be in: ISO 4217 code to the number of decimals of its minor unit.

The list of the table billing.currencies (a test compares them), so that a file can be checked without a database.
"""

_BY_EXPONENT = {
    0: "CLP ISK JPY KRW PYG UGX VND XAF XOF",
    2: "AED AUD BGN BRL CAD CHF CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR KES MAD MXN MYR NGN NOK NPR NZD PEN "
    "PHP PKR PLN QAR RON RSD SAR SEK SGD THB TRY TWD UAH USD ZAR",
    3: "BHD JOD KWD OMR TND",
}
EXPONENTS = {currency: exponent for exponent, codes in _BY_EXPONENT.items() for currency in codes.split()}
