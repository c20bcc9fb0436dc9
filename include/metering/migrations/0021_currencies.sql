-- All currencies in use, by ISO 4217, each with the decimals of its minor unit.
INSERT INTO billing.currencies (currency, exponent) VALUES
    ('AFN', 2), ('ALL', 2), ('AMD', 2), ('AOA', 2), ('ARS', 2), ('AWG', 2), ('AZN', 2), ('BAM', 2), ('BBD', 2), ('BDT', 2),
    ('BIF', 0), ('BMD', 2), ('BND', 2), ('BOB', 2), ('BSD', 2), ('BTN', 2), ('BWP', 2), ('BYN', 2), ('BZD', 2), ('CDF', 2),
    ('CLF', 4), ('CRC', 2), ('CUP', 2), ('CVE', 2), ('DJF', 0), ('DOP', 2), ('DZD', 2), ('ERN', 2), ('ETB', 2), ('FJD', 2),
    ('FKP', 2), ('GEL', 2), ('GHS', 2), ('GIP', 2), ('GMD', 2), ('GNF', 0), ('GTQ', 2), ('GYD', 2), ('HNL', 2), ('HTG', 2),
    ('IQD', 3), ('IRR', 2), ('JMD', 2), ('KGS', 2), ('KHR', 2), ('KMF', 0), ('KPW', 2), ('KYD', 2), ('KZT', 2), ('LAK', 2),
    ('LBP', 2), ('LKR', 2), ('LRD', 2), ('LSL', 2), ('LYD', 3), ('MDL', 2), ('MGA', 2), ('MKD', 2), ('MMK', 2), ('MNT', 2),
    ('MOP', 2), ('MRU', 2), ('MUR', 2), ('MVR', 2), ('MWK', 2), ('MZN', 2), ('NAD', 2), ('NIO', 2), ('PAB', 2), ('PGK', 2),
    ('RUB', 2), ('RWF', 0), ('SBD', 2), ('SCR', 2), ('SDG', 2), ('SHP', 2), ('SLE', 2), ('SOS', 2), ('SRD', 2), ('SSP', 2),
    ('STN', 2), ('SVC', 2), ('SYP', 2), ('SZL', 2), ('TJS', 2), ('TMT', 2), ('TOP', 2), ('TTD', 2), ('TZS', 2), ('UYI', 0),
    ('UYU', 2), ('UYW', 4), ('UZS', 2), ('VED', 2), ('VES', 2), ('VUV', 0), ('WST', 2), ('XCD', 2), ('XCG', 2), ('XPF', 0),
    ('YER', 2), ('ZMW', 2), ('ZWG', 2);

COMMENT ON COLUMN billing.price_versions.carry_tiers IS 'Not used: where a price changes within a period, tiers start again.';
